# What is installed: component runtime is the shared library, dev all that a build needs.
include(CMakePackageConfigHelpers)
set(config_folder ${CMAKE_INSTALL_LIBDIR}/cmake/deal)

install(TARGETS ${libraries} EXPORT deal
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT dev
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
# Every public header begins with deal.
install(DIRECTORY csrc/abi/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT dev
  FILES_MATCHING REGEX "/deal[a-z_]*\\.(h|hpp)$")

install(EXPORT deal FILE deal-targets.cmake NAMESPACE deal:: DESTINATION ${config_folder}
  COMPONENT dev)
configure_package_config_file(csrc/cmake/deal-config.cmake.in deal-config.cmake
  INSTALL_DESTINATION ${config_folder})
write_basic_package_version_file(deal-config-version.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${PROJECT_BINARY_DIR}/deal-config.cmake ${PROJECT_BINARY_DIR}/deal-config-version.cmake
  DESTINATION ${config_folder} COMPONENT dev)

# A static library alone brings what it needs along, without `pkg-config --static`.
if(NOT BUILD_SHARED_LIBS)
  set(pc_shared " -lstdc++ -lm -pthread")
endif()
# The prefix is known only when it is installed: the second pass fills it in.
set(INSTALLED_PREFIX "@CMAKE_INSTALL_PREFIX@")
configure_file(csrc/cmake/deal.pc.in deal.pc.in @ONLY)
install(CODE "get_filename_component(CMAKE_INSTALL_PREFIX \"\${CMAKE_INSTALL_PREFIX}\" ABSOLUTE)
  configure_file(\"${PROJECT_BINARY_DIR}/deal.pc.in\"
  \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/pkgconfig/deal.pc\" @ONLY)"
  COMPONENT dev)
