/* What the C benchmarks share: the clock, minima, the FMA peak of the machine, and calls that must not fail. */
#ifndef MEASURE_H
#define MEASURE_H

#include <stddef.h>

/** Seconds, monotonic. */
double now(void);

/** Keeps the calling thread on the last processor that the process may use. */
void pin(void);

typedef void work(void *context);

/**
 * Seconds of one call: the least of many samples, each the mean of as many calls as fill about 50 µs, for about `seconds`.
 * The least, because whatever else runs on a machine only adds.
 */
double least(work *call, void *context, double seconds);

/**
 * The same for several calls in turns, so that all see the same machine: out[i] of calls[i].
 */
void least_of_each(work *const *calls, void *const *contexts, size_t count, double seconds, double *out);

/** GFLOP/s of multiply-adds on registers, the best of the vectors that the processor has, on `threads` threads together. */
double fma_peak(int threads, double seconds);

/** Bytes a second, read from a block of this size again and again by one thread. */
double read_rate(size_t bytes, double seconds);

/** rnn.h's calls: says what failed and ends the program. */
#define MUST(call)                                                                                       \
  do {                                                                                                   \
    const rnn_status status_ = (call);                                                                   \
    if (status_ != RNN_OK) {                                                                             \
      fprintf(stderr, "%s:%d: %s gave %s: %s\n", __FILE__, __LINE__, #call, rnn_status_name(status_),    \
              rnn_last_error_message());                                                                 \
      exit(1);                                                                                           \
    }                                                                                                    \
  } while (0)

#endif
