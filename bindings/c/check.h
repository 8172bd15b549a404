/* What the programs of this folder share: checks that say where they failed, and random numbers. */
#ifndef CHECK_H
#define CHECK_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rnn.h"

static int failures = 0;

/** Says what the following checks are about. */
#define SECTION(text) printf("%s\n", text)

#define CHECK(condition)                                                         \
  do {                                                                           \
    if (!(condition)) {                                                          \
      printf("  FAILED %s:%d: %s\n", __FILE__, __LINE__, #condition);            \
      failures++;                                                                \
    }                                                                            \
  } while (0)

/** The call gives `expected`; if that is an error, it also leaves a message. */
#define EXPECT(expected, call)                                                   \
  do {                                                                           \
    const rnn_status wanted_ = (expected);                                       \
    const rnn_status status_ = (call);                                           \
    if (status_ != wanted_) {                                                    \
      printf("  FAILED %s:%d: %s\n    gave %s (%s), expected %s\n", __FILE__, __LINE__, #call, \
             rnn_status_name(status_), status_ ? rnn_last_error_message() : "", rnn_status_name(wanted_)); \
      failures++;                                                                \
    } else if (wanted_ != RNN_OK && rnn_last_error_message()[0] == 0) {          \
      printf("  FAILED %s:%d: %s\n    left no message\n", __FILE__, __LINE__, #call); \
      failures++;                                                                \
    }                                                                            \
  } while (0)

/** The call succeeds; what follows makes no sense otherwise, so the program ends if it does not. */
#define MUST(call)                                                               \
  do {                                                                           \
    const rnn_status status_ = (call);                                           \
    if (status_ != RNN_OK) {                                                     \
      printf("  FAILED %s:%d: %s\n    gave %s (%s)\n", __FILE__, __LINE__, #call, \
             rnn_status_name(status_), rnn_last_error_message());                \
      exit(1);                                                                   \
    }                                                                            \
  } while (0)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/** Both arrays have the same bits: 0.0 is not -0.0, and a NaN equals itself. */
#define SAME_BITS(a, b) (sizeof(a) == sizeof(b) && memcmp((a), (b), sizeof(a)) == 0)

/** Uniform in [-1, 1), the same on every platform. */
static inline double uniform(uint64_t *seed) {
  *seed = *seed * 6364136223846793005u + 1442695040888963407u;
  return (double)(*seed >> 11) / 4503599627370496.0 - 1.0;
}

static inline void fill_f64(double *values, size_t count, uint64_t seed) {
  for (size_t i = 0; i < count; i++) values[i] = uniform(&seed);
}

static inline void fill(float *values, size_t count, uint64_t seed) {
  for (size_t i = 0; i < count; i++) values[i] = (float)uniform(&seed);
}

/** The last line of every program: what came out, and main's return value. */
static inline int finish(void) {
  if (failures == 0) printf("passed (librnn %s, kernels %s)\n", rnn_version(), rnn_kernels_name());
  else printf("%d checks FAILED (librnn %s, kernels %s)\n", failures, rnn_version(), rnn_kernels_name());
  return failures != 0;
}

#endif
