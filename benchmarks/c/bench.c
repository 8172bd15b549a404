/* What librnn computes in a second, from C: one step of a stream, and sequences of a network. No Python, no peers.
 *
 * Prints one line for each configuration: the least time of many repetitions, GFLOP/s of the products of all layers (2 * N * G * H * (I
 * + H) a step), and percent of the multiply-add peak, which is measured beside it with the widest instructions of this processor. Other
 * programs only make times longer, so the minimum is what the processor can do.
 *
 *     cc -O2 -Iinclude benchmarks/c/bench.c -Lbuild -lrnn -Wl,-rpath,$PWD/build -lm -o build/bench && build/bench
 */
#define _POSIX_C_SOURCE 199309L
#include "rnn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(rnn_status status) {
  if (status == RNN_OK) return;
  fprintf(stderr, "%s: %s\n", rnn_status_name(status), rnn_last_error_message());
  exit(1);
}

/* ---- the peak: independent multiply-adds in registers */

static volatile float sink;

#if defined(__x86_64__)
#define PEAK(NAME, TARGET, VECTOR, SET, FMA)                                               \
  __attribute__((target(TARGET))) static void NAME(long rounds) {                          \
    VECTOR a[12], b = SET(0.999f), c = SET(0.001f);                                        \
    for (int i = 0; i < 12; i++) a[i] = SET((float)i);                                     \
    for (long r = 0; r < rounds; r++) {                                                    \
      for (int i = 0; i < 12; i++) a[i] = FMA(a[i], b, c);                                 \
      __asm__ volatile("" : "+v"(a[0]));                                                   \
    }                                                                                      \
    float sum = 0;                                                                         \
    for (int i = 0; i < 12; i++) sum += ((float *)&a[i])[0];                               \
    sink = sum;                                                                            \
  }
PEAK(peak_512, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps)
PEAK(peak_256, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps)
#endif

/** GFLOP/s, or 0 where it is not known how to measure them. */
static double peak(void) {
#if defined(__x86_64__)
  const int wide = __builtin_cpu_supports("avx512f");
  if (!wide && !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))) return 0;
  const long rounds = 100000;
  double best = 1e9;
  for (int i = 0; i < 20; i++) {
    const double start = now();
    if (wide) peak_512(rounds);
    else peak_256(rounds);
    const double time = now() - start;
    if (time < best) best = time;
  }
  return (double)rounds * 12 * (wide ? 16 : 8) * 2 / best * 1e-9;
#else
  return 0;
#endif
}

/* ---- networks */

typedef struct {
  const char *name;
  int32_t cell, variant;
  int gates;
} cell_kind;

static const cell_kind cells[] = {
  {"LSTM", RNN_CELL_LSTM, 0, 4},
  {"GRU reset-before", RNN_CELL_GRU, RNN_GRU_RESET_BEFORE, 3},
  {"GRU reset-after", RNN_CELL_GRU, RNN_GRU_RESET_AFTER, 3},
  {"RNN tanh", RNN_CELL_VANILLA, 0, 1},
};

static rnn_network *build(const cell_kind *cell, size_t inputs, size_t hidden, size_t layers, int head) {
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  must(rnn_builder_create(NULL, &builder));
  must(rnn_builder_add_input(builder, "x", inputs));
  rnn_recurrent_options options = RNN_RECURRENT_OPTIONS_INIT;
  options.cell = cell->cell;
  options.gru_variant = cell->variant;
  options.hidden_size = hidden;
  options.num_layers = layers;
  must(rnn_builder_add_recurrent(builder, "cell", NULL, &options));
  if (head) must(rnn_builder_add_linear(builder, "y", NULL, 1, 1));
  must(rnn_builder_build(builder, NULL, &network));
  rnn_builder_destroy(builder);
  return network;
}

static void fill(float *values, size_t count) {
  unsigned state = 1;
  for (size_t i = 0; i < count; i++) {
    state = state * 1664525u + 1013904223u;
    values[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
  }
}

static double steps(const cell_kind *cell, size_t inputs, size_t hidden, int head) {
  rnn_network *network = build(cell, inputs, hidden, 1, head);
  rnn_stream *stream = NULL;
  must(rnn_stream_create(network, NULL, &stream));
  float *x = NULL;
  size_t count = 0;
  must(rnn_stream_input(stream, &x, &count));
  fill(x, count);
  const double work = (double)cell->gates * (double)hidden * (double)(hidden + inputs);
  const long repeats = work > 1e6 ? 20 : work > 1e5 ? 200 : 2000;
  double best = 1e9;
  for (int i = 0; i < 100; i++) {
    const double start = now();
    for (long r = 0; r < repeats; r++) must(rnn_stream_step(stream));
    const double time = (now() - start) / (double)repeats;
    if (time < best) best = time;
  }
  rnn_stream_destroy(stream);
  rnn_network_destroy(network);
  return best;
}

static double sequences(const cell_kind *cell, size_t T, size_t N, size_t inputs, size_t hidden, size_t layers) {
  rnn_network *network = build(cell, inputs, hidden, layers, 0);
  float *x = malloc(T * N * inputs * sizeof(float)), *y = malloc(T * N * hidden * sizeof(float));
  if (x == NULL || y == NULL) exit(1);
  fill(x, T * N * inputs);
  double best = 1e9;
  const double begin = now();
  for (int i = 0; i < 200 && (i < 5 || now() - begin < 1.5); i++) {
    const double start = now();
    must(rnn_network_run(network, T, N, x, T * N * inputs, NULL, 0, NULL, 0, NULL, y, T * N * hidden, NULL));
    const double time = now() - start;
    if (time < best) best = time;
  }
  free(x);
  free(y);
  rnn_network_destroy(network);
  return best;
}

int main(int argc, char **argv) {
  const size_t threads = argc > 1 ? (size_t)atoi(argv[1]) : 1;
  must(rnn_threads_set(threads));
  const double top = peak();
  printf("kernels %s, %zu thread(s), peak of one thread %.1f GFLOP/s\n\n", rnn_kernels_name(), threads, top);

  printf("one step of a stream, 1 input -> H -> dense 1, ns\n%-18s", "");
  static const size_t small[] = {8, 16, 24, 32, 48, 64, 128};
  for (size_t s = 0; s < sizeof small / sizeof *small; s++) printf("%9zu", small[s]);
  printf("\n");
  for (size_t c = 0; c < sizeof cells / sizeof *cells; c++) {
    printf("%-18s", cells[c].name);
    for (size_t s = 0; s < sizeof small / sizeof *small; s++) printf("%9.1f", steps(&cells[c], 1, small[s], 1) * 1e9);
    printf("\n");
  }

  printf("\none step of a stream, I = H, us (GB/s of weights)\n%-18s", "");
  static const size_t square[] = {16, 32, 64, 128, 256, 512, 1024};
  for (size_t s = 0; s < sizeof square / sizeof *square; s++) printf("%17zu", square[s]);
  printf("\n");
  for (size_t c = 0; c < sizeof cells / sizeof *cells; c++) {
    printf("%-18s", cells[c].name);
    for (size_t s = 0; s < sizeof square / sizeof *square; s++) {
      const double time = steps(&cells[c], square[s], square[s], 0);
      printf("%10.2f (%4.0f)", time * 1e6, 8.0 * cells[c].gates * (double)square[s] * (double)square[s] / time * 1e-9);
    }
    printf("\n");
  }

  printf("\nsequences, (T, N, I, H, layers): ms, GFLOP/s, percent of the peak\n");
  static const size_t shapes[][5] = {
    {100, 1, 64, 64, 1}, {100, 1, 128, 128, 1}, {100, 1, 256, 256, 1}, {100, 1, 512, 512, 1}, {100, 8, 128, 128, 1},
    {100, 32, 64, 64, 1}, {100, 32, 128, 128, 1}, {100, 32, 256, 256, 1}, {100, 33, 200, 200, 2}, {35, 64, 512, 512, 1},
  };
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    const size_t *p = shapes[s];
    for (size_t c = 0; c < sizeof cells / sizeof *cells; c++) {
      const double time = sequences(&cells[c], p[0], p[1], p[2], p[3], p[4]);
      const double work =
        2.0 * (double)(p[0] * p[1]) * cells[c].gates * (double)p[3] * ((double)(p[2] + p[3]) + (double)(p[4] - 1) * 2.0 * (double)p[3]);
      const double rate = work / time * 1e-9;
      printf(
        "(%3zu, %2zu, %3zu, %3zu, %zu) %-18s %9.3f %8.1f %6.1f%%\n", p[0], p[1], p[2], p[3], p[4], cells[c].name, time * 1e3,
        rate, top > 0 ? 100 * rate / (top * (double)threads) : 0.0);
    }
  }
  return 0;
}
