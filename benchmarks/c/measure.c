#define _GNU_SOURCE
#include "measure.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

void pin(void) {
  cpu_set_t allowed, one;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  for (int cpu = CPU_SETSIZE - 1; cpu >= 0; cpu--) {
    if (CPU_ISSET(cpu, &allowed)) {
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      sched_setaffinity(0, sizeof one, &one);
      return;
    }
  }
}

static size_t calls_of_a_sample(work *call, void *context) {
  for (size_t count = 1;; count *= 4) {
    const double start = now();
    for (size_t i = 0; i < count; i++) call(context);
    const double spent = now() - start;
    if (spent > 1e-5) {
      const double wanted = 5e-5 / (spent / (double)count);
      return wanted < 1 ? 1 : (size_t)wanted;
    }
  }
}

void least_of_each(work *const *calls, void *const *contexts, size_t count, double seconds, double *out) {
  size_t *repeat = malloc(count * sizeof *repeat);
  if (repeat == NULL) abort();
  for (size_t i = 0; i < count; i++) {
    out[i] = 1e300;
    repeat[i] = calls_of_a_sample(calls[i], contexts[i]);
  }
  const double end = now() + seconds * (double)count;
  do {
    for (size_t i = 0; i < count; i++) {
      for (int sample = 0; sample < 5; sample++) {
        const double start = now();
        for (size_t k = 0; k < repeat[i]; k++) calls[i](contexts[i]);
        const double one = (now() - start) / (double)repeat[i];
        if (one < out[i]) out[i] = one;
      }
    }
  } while (now() < end);
  free(repeat);
}

double least(work *call, void *context, double seconds) {
  double out;
  least_of_each(&call, &context, 1, seconds, &out);
  return out;
}

/* ------------------------------------------------------------------------------------------------ the FMA peak */

enum { ROUNDS = 2000 };

#if defined(__x86_64__) && defined(__GNUC__)
#  include <immintrin.h>

/* Enough independent chains to hide the latency of two units. Each is a variable of its own and goes through an empty asm in each
 * round: an array would be kept in memory, and a chain that nothing looks at would be computed beforehand. */
#  define CHAINS(X) X(a0) X(a1) X(a2) X(a3) X(a4) X(a5) X(a6) X(a7) X(a8) X(a9) X(a10) X(a11)
enum { CHAIN_COUNT = 12, IN_A_ROW = 4 };

__attribute__((target("avx512f"))) static double fma_512(void) {
  const __m512 x = _mm512_set1_ps(0.5f), y = _mm512_set1_ps(0.25f);
#  define DECLARE(a) __m512 a = x;
#  define STEP(a) a = _mm512_fmadd_ps(a, x, y);
#  define KEEP(a) __asm__ volatile("" : "+v"(a));
  CHAINS(DECLARE)
  for (int round = 0; round < ROUNDS; round++) {
    CHAINS(STEP) CHAINS(STEP) CHAINS(STEP) CHAINS(STEP)
    CHAINS(KEEP)
  }
#  undef DECLARE
#  undef STEP
#  undef KEEP
  return 2.0 * 16 * CHAIN_COUNT * IN_A_ROW * ROUNDS;
}

__attribute__((target("avx2,fma"))) static double fma_256(void) {
  const __m256 x = _mm256_set1_ps(0.5f), y = _mm256_set1_ps(0.25f);
#  define DECLARE(a) __m256 a = x;
#  define STEP(a) a = _mm256_fmadd_ps(a, x, y);
#  define KEEP(a) __asm__ volatile("" : "+x"(a));
  CHAINS(DECLARE)
  for (int round = 0; round < ROUNDS; round++) {
    CHAINS(STEP) CHAINS(STEP) CHAINS(STEP) CHAINS(STEP)
    CHAINS(KEEP)
  }
#  undef DECLARE
#  undef STEP
#  undef KEEP
  return 2.0 * 8 * CHAIN_COUNT * IN_A_ROW * ROUNDS;
}

/* Four loads an iteration into independent sums. */
__attribute__((target("avx2"))) static void read_256(const float *from, size_t count) {
  __m256 a = _mm256_setzero_ps(), b = a, c = a, d = a;
  for (size_t i = 0; i + 32 <= count; i += 32) {
    a = _mm256_or_ps(a, _mm256_load_ps(from + i));
    b = _mm256_or_ps(b, _mm256_load_ps(from + i + 8));
    c = _mm256_or_ps(c, _mm256_load_ps(from + i + 16));
    d = _mm256_or_ps(d, _mm256_load_ps(from + i + 24));
  }
  __asm__ volatile("" : : "x"(a), "x"(b), "x"(c), "x"(d));
}

__attribute__((target("avx512f"))) static void read_512(const float *from, size_t count) {
  __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
  for (size_t i = 0; i + 64 <= count; i += 64) {
    a = _mm512_or_si512(a, _mm512_load_si512(from + i));
    b = _mm512_or_si512(b, _mm512_load_si512(from + i + 16));
    c = _mm512_or_si512(c, _mm512_load_si512(from + i + 32));
    d = _mm512_or_si512(d, _mm512_load_si512(from + i + 48));
  }
  __asm__ volatile("" : : "v"(a), "v"(b), "v"(c), "v"(d));
}
#endif

static double fma_plain(void) {
  float a[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  for (int round = 0; round < ROUNDS; round++) {
    for (int k = 0; k < 8; k++) a[k] = a[k] * 0.5f + 0.25f;
    __asm__ volatile("" : : "r"(a) : "memory");
  }
  return 2.0 * 8 * ROUNDS;
}

static void read_plain(const float *from, size_t count) {
  for (size_t i = 0; i < count; i += 16) {
    volatile float value = from[i];
    (void)value;
  }
}

typedef double fma_loop(void);
static fma_loop *best_loop(void) {
#if defined(__x86_64__) && defined(__GNUC__)
  if (__builtin_cpu_supports("avx512f")) return fma_512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return fma_256;
#endif
  return fma_plain;
}

struct peak_thread {
  double seconds, rate;
};

/* The best 2 ms of the time: while all threads run, each at its best. */
static void *peak_of_one(void *argument) {
  struct peak_thread *mine = argument;
  fma_loop *loop = best_loop();
  const double end = now() + mine->seconds;
  mine->rate = 0;
  do {
    double done = 0;
    const double start = now();
    do done += loop();
    while (now() < start + 2e-3);
    const double rate = done / (now() - start);
    if (rate > mine->rate) mine->rate = rate;
  } while (now() < end);
  return NULL;
}

double fma_peak(int threads, double seconds) {
  pthread_t *handles = malloc((size_t)threads * sizeof *handles);
  struct peak_thread *each = malloc((size_t)threads * sizeof *each);
  if (handles == NULL || each == NULL) abort();
  double total = 0;
  for (int i = 0; i < threads; i++) {
    each[i].seconds = seconds;
    if (pthread_create(&handles[i], NULL, peak_of_one, &each[i]) != 0) abort();
  }
  for (int i = 0; i < threads; i++) {
    pthread_join(handles[i], NULL);
    total += each[i].rate;
  }
  free(handles);
  free(each);
  return total / 1e9;
}

struct block {
  const float *values;
  size_t count;
};

static void read_block(void *argument) {
  const struct block *block = argument;
#if defined(__x86_64__) && defined(__GNUC__)
  if (__builtin_cpu_supports("avx512f")) {
    read_512(block->values, block->count);
    return;
  }
  if (__builtin_cpu_supports("avx2")) {
    read_256(block->values, block->count);
    return;
  }
#endif
  read_plain(block->values, block->count);
}

double read_rate(size_t bytes, double seconds) {
  void *memory = NULL;
  if (posix_memalign(&memory, 4096, bytes) != 0) abort();
  memset(memory, 1, bytes);
  struct block block = {memory, bytes / sizeof(float)};
  const double time = least(read_block, &block, seconds);
  free(memory);
  return (double)bytes / time;
}
