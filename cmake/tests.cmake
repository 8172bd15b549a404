# CTest cases: the programs of bindings/c and bindings/cpp (alone, and under valgrind), the headers under several
# compilers, the built objects, and an installed tree as another project would use it.

# ---- C and C++ programs: each is an example and a test

include(CheckLanguage)
check_language(CXX)
set(languages c)
if(CMAKE_CXX_COMPILER)
  enable_language(CXX)
  list(APPEND languages cpp)
else()
  message(STATUS "no C++ compiler found: rnn.hpp is not tested")
endif()

# -Werror includes warn_unused_result: these programs show that every status is looked at.
set(strict_c -std=c99 -pedantic -Wall -Wextra -Werror -O2)
set(strict_cpp -std=c++17 -Wpedantic -Wall -Wextra -Wshadow -Werror -O2)
find_program(VALGRIND_EXECUTABLE valgrind)

foreach(language IN LISTS languages)
  file(GLOB programs CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/bindings/${language}
    bindings/${language}/*.${language})
  foreach(program IN LISTS programs)
    cmake_path(GET program STEM name)
    set(target ${name})
    if(language STREQUAL "cpp")
      set(target cpp-${name})
    endif()
    set(folder ${CMAKE_BINARY_DIR}/${language})
    add_executable(${target} bindings/${language}/${program})
    target_compile_options(${target} PRIVATE ${strict_${language}})
    target_link_libraries(${target} PRIVATE rnn::rnn m)
    set_target_properties(${target} PROPERTIES
      RUNTIME_OUTPUT_DIRECTORY ${folder} OUTPUT_NAME ${name} BUILD_RPATH ${CMAKE_BINARY_DIR} ENABLE_EXPORTS ON)
    set(test ${language}.${name})
    add_test(NAME ${test} COMMAND ${target} WORKING_DIRECTORY ${folder})
    add_test(NAME ${test}.baseline COMMAND ${target} WORKING_DIRECTORY ${folder})
    set_tests_properties(${test} ${test}.baseline PROPERTIES TIMEOUT 120)
    set_tests_properties(${test}.baseline PROPERTIES ENVIRONMENT "RNN_FORCE_KERNELS=baseline")

    # valgrind has no AVX-512, hence v3. Its processor ignores flush-to-zero and masks, it makes system calls of its own,
    # and OpenBLAS chooses kernels that it does not know: hence not those three. "Possibly lost" is left out: the Swift
    # runtime finds its type caches through tagged pointers, which valgrind takes for lost ones.
    if(VALGRIND_EXECUTABLE AND NOT name MATCHES "^(blas|numeric_mode|realtime)$")
      add_test(NAME valgrind.${test}
        COMMAND ${VALGRIND_EXECUTABLE} --quiet --error-exitcode=99 --leak-check=full
                --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect $<TARGET_FILE:${target}>
        WORKING_DIRECTORY ${folder})
      set_tests_properties(valgrind.${test} PROPERTIES
        LABELS valgrind TIMEOUT 600 ENVIRONMENT "RNN_FORCE_KERNELS=x86-64-v3")
    endif()
    # Each program writes files of fixed names: not twice at once.
    set_tests_properties(${test} ${test}.baseline PROPERTIES RESOURCE_LOCK ${test})
    if(TEST valgrind.${test})
      set_tests_properties(valgrind.${test} PROPERTIES RESOURCE_LOCK ${test})
    endif()
  endforeach()
endforeach()
if(NOT VALGRIND_EXECUTABLE)
  message(STATUS "valgrind not found: the programs run without it only")
endif()

# ---- rnn.h: a clean C99 and C++17 header for gcc and clang; rnn.hpp, used to the full, in C++17 and C++20

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
    file(GLOB programs CONFIGURE_DEPENDS bindings/cpp/*.cpp)
    foreach(standard "c++17" "c++20")
      foreach(types "rtti" "no-rtti")
        string(TOLOWER "header.${compiler}.hpp.${standard}.${types}" test)
        add_test(NAME ${test} COMMAND ${${compiler}_EXECUTABLE} -std=${standard} -f${types} -Wpedantic -Wall -Wextra
          -Wshadow -Werror -I${CMAKE_SOURCE_DIR}/include -fsyntax-only ${programs})
      endforeach()
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
