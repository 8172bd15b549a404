# CTest cases: the C programs of bindings/c (alone, and under valgrind), rnn.h under several compilers, the built objects,
# and an installed tree as another project would use it.

# ---- C programs: each is an example and a test

# -Werror includes warn_unused_result: these programs show that every status is looked at.
add_compile_options(-std=c99 -pedantic -Wall -Wextra -Werror -O2)
find_program(VALGRIND_EXECUTABLE valgrind)

file(GLOB programs CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/bindings/c bindings/c/*.c)
foreach(program IN LISTS programs)
  cmake_path(GET program STEM name)
  add_executable(${name} bindings/c/${program})
  target_link_libraries(${name} PRIVATE rnn::rnn m)
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/c BUILD_RPATH ${CMAKE_BINARY_DIR} ENABLE_EXPORTS ON)
  add_test(NAME c.${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_BINARY_DIR}/c)
  add_test(NAME c.${name}.baseline COMMAND ${name} WORKING_DIRECTORY ${CMAKE_BINARY_DIR}/c)
  set_tests_properties(c.${name} c.${name}.baseline PROPERTIES TIMEOUT 120)
  set_tests_properties(c.${name}.baseline PROPERTIES ENVIRONMENT "RNN_FORCE_KERNELS=baseline")

  # valgrind has no AVX-512, hence v3. Its processor ignores flush-to-zero and masks, it makes system calls of its own, and
  # OpenBLAS chooses kernels that it does not know: hence not those three. "Possibly lost" is left out: the Swift runtime finds its type caches through tagged pointers, which
  # valgrind takes for lost ones.
  if(VALGRIND_EXECUTABLE AND NOT name MATCHES "^(blas|numeric_mode|realtime)$")
    add_test(NAME valgrind.${name}
      COMMAND ${VALGRIND_EXECUTABLE} --quiet --error-exitcode=99 --leak-check=full
              --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect $<TARGET_FILE:${name}>
      WORKING_DIRECTORY ${CMAKE_BINARY_DIR}/c)
    set_tests_properties(valgrind.${name} PROPERTIES
      LABELS valgrind TIMEOUT 600 ENVIRONMENT "RNN_FORCE_KERNELS=x86-64-v3")
  endif()
endforeach()
if(NOT VALGRIND_EXECUTABLE)
  message(STATUS "valgrind not found: the C programs run without it only")
endif()

# ---- rnn.h: a clean C99 and C++17 header for gcc and clang

cmake_path(GET SWIFT_EXECUTABLE PARENT_PATH swift_directory)
find_program(GCC_EXECUTABLE gcc)
find_program(CLANG_EXECUTABLE clang HINTS ${swift_directory})
foreach(compiler GCC CLANG)
  if(${compiler}_EXECUTABLE)
    foreach(language "c;c99" "c++;c++17")
      list(GET language 0 kind)
      list(GET language 1 standard)
      string(TOLOWER "header.${compiler}.${standard}" test)
      add_test(NAME ${test} COMMAND ${${compiler}_EXECUTABLE} -x ${kind} -std=${standard} -pedantic -Wall -Wextra -Werror
        -fsyntax-only ${CMAKE_SOURCE_DIR}/include/rnn.h)
    endforeach()
  else()
    message(STATUS "${compiler} not found: rnn.h is not checked with it")
  endif()
endforeach()

# ---- what was built

add_test(NAME kernels COMMAND sh ${CMAKE_SOURCE_DIR}/Tests/C/check-kernels.sh
  ${swift_build_directory}/${RNN_SWIFT_CONFIGURATION})
add_test(NAME install COMMAND sh ${CMAKE_SOURCE_DIR}/Tests/C/check-install.sh
  ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR} ${CMAKE_INSTALL_LIBDIR})
set_tests_properties(install PROPERTIES TIMEOUT 300)
