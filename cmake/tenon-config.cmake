include(${CMAKE_CURRENT_LIST_DIR}/tenon-targets.cmake)
