# lower_glibc_floor(TARGET) makes a shared library load with the glibc of Debian 11, Ubuntu 20.04
# and JetPack 5 (2.31), whatever the glibc of this machine.
#
# glibc 2.34 moved pthread_create and pthread_join from libpthread to libc, and gave them a new
# version. A program linked there asks for that version, though any glibc has the functions. So the
# library is linked with a libpthread.so.0 that has them by their first version, as one of an older
# glibc does. At run time the libpthread.so.0 of the machine is loaded; every glibc has one. What
# else might need a newer glibc is found by `make packages`, which reads the symbols.
include(CheckCXXSymbolExists)
check_cxx_symbol_exists(__GLIBC__ features.h DEAL_HAS_GLIBC)

function(lower_glibc_floor target)
  if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
    set(first GLIBC_2.2.5)
  elseif(CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
    set(first GLIBC_2.17)
  endif()
  if(NOT DEAL_HAS_GLIBC OR NOT DEFINED first)
    return()
  endif()
  set(folder ${PROJECT_BINARY_DIR}/glibc_floor)
  file(WRITE ${folder}/pthread.c "void pthread_create(void) {}\nvoid pthread_join(void) {}\n")
  file(WRITE ${folder}/pthread.map "${first} { pthread_create; pthread_join; };\n")
  add_library(pthread_of_old SHARED ${folder}/pthread.c)
  target_compile_options(pthread_of_old PRIVATE -fno-builtin -w)
  target_link_options(pthread_of_old PRIVATE -nostdlib -Wl,--version-script=${folder}/pthread.map)
  set_target_properties(pthread_of_old PROPERTIES
    OUTPUT_NAME pthread SOVERSION 0 LIBRARY_OUTPUT_DIRECTORY ${folder})
  # As a file among the options: as a library it would belong to what is installed.
  add_dependencies(${target} pthread_of_old)
  target_link_options(${target} PRIVATE
    "LINKER:--push-state,--no-as-needed,$<TARGET_FILE:pthread_of_old>,--pop-state")
endfunction()
