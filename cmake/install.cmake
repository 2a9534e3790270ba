# cmake --install: headers, library, program, package files for find_package(bamba) and pkg-config, the demo model.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(bamba_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/bamba)

install(TARGETS bamba EXPORT bambaTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/bamba DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(EXPORT bambaTargets NAMESPACE bamba:: DESTINATION ${bamba_cmake_dir})
configure_package_config_file(cmake/bambaConfig.cmake.in ${PROJECT_BINARY_DIR}/bambaConfig.cmake
  INSTALL_DESTINATION ${bamba_cmake_dir})
# 0.x: a new minor version may change the API.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/bambaConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/bambaConfig.cmake ${PROJECT_BINARY_DIR}/bambaConfigVersion.cmake
  DESTINATION ${bamba_cmake_dir})

# The prefix is worked out from where bamba.pc lies, so that a staged or moved tree works.
file(RELATIVE_PATH bamba_pc_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
if(BAMBA_CUDA)
  set(bamba_pc_cuda " -L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -lcublasLt -ldl -lrt")
endif()
configure_file(cmake/bamba.pc.in ${PROJECT_BINARY_DIR}/bamba.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/bamba.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

if(TARGET bamba_cli)
  install(TARGETS bamba_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
if(EXISTS ${PROJECT_SOURCE_DIR}/models/demo)
  install(DIRECTORY models/demo DESTINATION ${CMAKE_INSTALL_DATADIR}/bamba/models)
endif()
install(FILES README.md LICENSE CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")
