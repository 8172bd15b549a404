# The C programs of benchmarks/c, in build/bench: not part of `all`. `make bench-c` and `make bench` build them.

set(bench_folder ${CMAKE_SOURCE_DIR}/benchmarks/c)
find_package(Threads REQUIRED)

add_executable(rnn-bench EXCLUDE_FROM_ALL ${bench_folder}/bench.c ${bench_folder}/networks.c ${bench_folder}/measure.c)
target_link_libraries(rnn-bench PRIVATE rnn::rnn Threads::Threads)
add_executable(rnn-peak EXCLUDE_FROM_ALL ${bench_folder}/peak.c ${bench_folder}/measure.c)
target_link_libraries(rnn-peak PRIVATE Threads::Threads)
# Opens librnn.so itself, to see what that costs.
add_executable(rnn-footprint EXCLUDE_FROM_ALL ${bench_folder}/footprint.c ${bench_folder}/measure.c)
target_include_directories(rnn-footprint PRIVATE ${CMAKE_SOURCE_DIR}/include)
target_link_libraries(rnn-footprint PRIVATE ${CMAKE_DL_LIBS} Threads::Threads)
add_dependencies(rnn-footprint library)

set(bench_programs rnn-bench rnn-peak rnn-footprint)
foreach(program IN LISTS bench_programs)
  target_compile_options(${program} PRIVATE -std=gnu99 -O2 -Wall -Wextra -Werror)
  set_target_properties(${program} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench BUILD_RPATH ${CMAKE_BINARY_DIR})
endforeach()
add_custom_target(bench-programs DEPENDS ${bench_programs})
