# include/tenon/sites.h is generated from the other headers and committed: who builds Tenon needs no awk. In a working copy with an awk
# it is written anew when a header changes; the test build.sites compares the two.
find_program(TENON_AWK NAMES mawk gawk awk)
mark_as_advanced(TENON_AWK)
file(GLOB headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/tenon/*.h ${PROJECT_SOURCE_DIR}/include/tenon/*/*.h)
list(FILTER headers EXCLUDE REGEX "/(tenon|sites)\\.h$")
if(TENON_AWK AND EXISTS ${PROJECT_SOURCE_DIR}/.git)
  add_custom_command(OUTPUT sites.stamp
    COMMAND ${TENON_AWK} -f ${PROJECT_SOURCE_DIR}/cmake/sites.awk ${headers} > sites.h
    COMMAND ${CMAKE_COMMAND} -E copy_if_different sites.h ${PROJECT_SOURCE_DIR}/include/tenon/sites.h
    COMMAND ${CMAKE_COMMAND} -E touch sites.stamp
    DEPENDS ${headers} ${PROJECT_SOURCE_DIR}/cmake/sites.awk VERBATIM)
  add_custom_target(tenon_sites DEPENDS sites.stamp)
  add_dependencies(tenon tenon_sites)
  add_dependencies(tenon_static tenon_sites)
endif()
