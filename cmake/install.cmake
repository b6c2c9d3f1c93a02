# make install: both libraries, the headers, a pkg-config file and a CMake package (tenon::tenon, tenon::static).
include(CMakePackageConfigHelpers)

install(TARGETS tenon tenon_static EXPORT tenon-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET tenon_cuda)
  install(TARGETS tenon_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(DIRECTORY include/tenon DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tenon)
install(EXPORT tenon-targets NAMESPACE tenon:: DESTINATION ${package_dir})
write_basic_package_version_file(tenon-config-version.cmake COMPATIBILITY SameMinorVersion)
configure_file(cmake/tenon-config.cmake tenon-config.cmake COPYONLY)
install(FILES ${PROJECT_BINARY_DIR}/tenon-config.cmake ${PROJECT_BINARY_DIR}/tenon-config-version.cmake
  DESTINATION ${package_dir})

set(private_libraries)
foreach(name IN LISTS TENON_LIBRARY_NAMES TENON_OPENMP_FLAGS)
  if(name MATCHES "^-")
    string(APPEND private_libraries " ${name}")
  else()
    string(APPEND private_libraries " -l${name}")
  endif()
endforeach()
# Relative to the file itself, so that an installed tree can be moved.
file(RELATIVE_PATH pc_to_include ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_FULL_INCLUDEDIR})
configure_file(cmake/tenon.pc.in tenon.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/tenon.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
