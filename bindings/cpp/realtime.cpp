// What rnn.hpp calls real-time safe allocates nothing, by new or by malloc.
#include "check.hpp"

#include <cstddef>
#include <new>

namespace {
volatile long allocations = 0;
}

#if defined(__GLIBC__)
extern "C" {
void *__libc_malloc(std::size_t size);
void *__libc_calloc(std::size_t count, std::size_t size);
void *__libc_realloc(void *memory, std::size_t size);
void *__libc_memalign(std::size_t alignment, std::size_t size);
void __libc_free(void *memory);

void *malloc(std::size_t size) {
  allocations = allocations + 1;
  return __libc_malloc(size);
}
void *calloc(std::size_t count, std::size_t size) {
  allocations = allocations + 1;
  return __libc_calloc(count, size);
}
void *realloc(void *memory, std::size_t size) {
  allocations = allocations + 1;
  return __libc_realloc(memory, size);
}
void free(void *memory) {
  allocations = allocations + 1;
  __libc_free(memory);
}
int posix_memalign(void **memory, std::size_t alignment, std::size_t size) {
  allocations = allocations + 1;
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr ? 12 /* ENOMEM */ : 0;
}
}
#endif

namespace {

/** An audio callback: no exception leaves it, and none is made. */
void callback(rnn::Stream &stream, rnn::State &state, const float *sound, float *heard, std::size_t frames) noexcept {
  if (stream.try_process(frames, {sound, frames}, rnn::span<float>{heard, frames}) != RNN_OK)
    for (std::size_t i = 0; i < frames; i++) heard[i] = 0;
  if (stream.try_step() != RNN_OK || stream.try_get_state(state) != RNN_OK || stream.try_set_state(state) != RNN_OK) abort();
}

}  // namespace

int main() {
  for (const rnn::Cell cell : {rnn::Cell::vanilla, rnn::Cell::gru, rnn::Cell::lstm}) {
    rnn::RecurrentOptions options;
    options.cell = cell;
    options.hidden_size = 32;
    const rnn::Network network =
        rnn::Builder().add_input("x", 1).add_recurrent("r", nullptr, options).add_linear("y", nullptr, 1).build();
    rnn::Stream stream(network);
    rnn::State state(network);
    const std::vector<float> sound = numbers<float>(64, 1);
    std::vector<float> heard(64);
    const long before = allocations;
    for (int block = 0; block < 100; block++) {
      callback(stream, state, sound.data(), heard.data(), heard.size());
      stream.step();  // throws nothing, and then allocates nothing either
      stream.process(64, sound, heard);
    }
    const long during = allocations - before;
    std::printf("allocations: %ld\n", during);
    CHECK(during == 0);
    CHECK(heard[63] != 0);
  }
  CHECK(allocations > 0);  // they are counted
  return finish();
}
