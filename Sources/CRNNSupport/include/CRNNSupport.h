/*
 * What Swift cannot say: the processor's level, the floating-point mode, a thread-local message, and the table that each
 * instruction set's kernel module fills. Internal: not installed, nothing of it leaves librnn.so.
 */
#ifndef CRNNSUPPORT_H
#define CRNNSUPPORT_H

#include <stddef.h>
#include <stdint.h>

/* ---- processor ---- */

/** 4 for x86-64-v4, 3 for x86-64-v3, otherwise 0; asks the operating system's support too (XCR0). */
int32_t rnn_cpu_level(void);

/** Processors that this process may use. */
int32_t rnn_cpu_processor_count(void);

/** Tells the processor that this thread only waits. */
void rnn_cpu_pause(void);

/** Begins to bring a line of memory near, for reading. */
static inline void rnn_cpu_prefetch(const void *_Nonnull address) { __builtin_prefetch(address); }

/**
 * Square roots that never set errno, as Swift's own do in C, which keeps a loop of them from being vectorised. Rounded to
 * nearest, as IEEE 754 says.
 */
static inline float rnn_cpu_sqrt_f32(float x) { return __builtin_elementwise_sqrt(x); }
static inline double rnn_cpu_sqrt_f64(double x) { return __builtin_elementwise_sqrt(x); }

/* ---- sleeping: a word that a thread waits for while it has a value ---- */

void rnn_cpu_futex_wait(const void *_Nonnull word, uint32_t value);
void rnn_cpu_futex_wake(const void *_Nonnull word, int32_t count);

/* ---- floating-point mode: round to nearest, flush to zero, denormals are zero, exceptions masked ---- */

/** Sets librnn's mode and returns the caller's. A real call, so that the compiler moves no load or store across it. */
uint32_t rnn_cpu_mode_enter(void);
void rnn_cpu_mode_leave(uint32_t saved);

/* ---- the last error message of this thread ---- */

const char *_Nonnull rnn_cpu_message(void);
void rnn_cpu_message_set(const char *_Nonnull utf8, size_t count);

/* ---- kernels ---- */

/** A kernel takes one struct of arguments (RNNKernelBodies/Arguments.swift), so that a table holds one C type. */
typedef void (*rnn_cpu_kernel)(const void *_Nonnull arguments);

typedef struct rnn_cpu_kernels {
  /** Outputs in a packed panel: a layout private to each instruction set. */
  size_t panel_width;
  rnn_cpu_kernel _Nonnull product;
  rnn_cpu_kernel _Nonnull plain_product;
  rnn_cpu_kernel _Nonnull weight_gradient;
  rnn_cpu_kernel _Nonnull sigmoid;
  rnn_cpu_kernel _Nonnull tanh;
  rnn_cpu_kernel _Nonnull activate;
  rnn_cpu_kernel _Nonnull add;
  rnn_cpu_kernel _Nonnull vanilla_forward;
  rnn_cpu_kernel _Nonnull vanilla_backward;
  rnn_cpu_kernel _Nonnull lstm_forward;
  rnn_cpu_kernel _Nonnull lstm_backward;
  rnn_cpu_kernel _Nonnull gru_gates;
  rnn_cpu_kernel _Nonnull gru_before_forward;
  rnn_cpu_kernel _Nonnull gru_after_forward;
  rnn_cpu_kernel _Nonnull gru_backward;
  rnn_cpu_kernel _Nonnull gru_before_backward;
  rnn_cpu_kernel _Nonnull gru_after_backward;
  rnn_cpu_kernel _Nonnull softmax;
  rnn_cpu_kernel _Nonnull column_sums;
  rnn_cpu_kernel _Nonnull sum_of_squares;
  rnn_cpu_kernel _Nonnull multiply_add;
  rnn_cpu_kernel _Nonnull softmax_forward;
  rnn_cpu_kernel _Nonnull softmax_backward;
  rnn_cpu_kernel _Nonnull layer_norm_forward;
  rnn_cpu_kernel _Nonnull layer_norm_backward;
  /** Elements of a vector: units in a panel of a fused step. */
  size_t vector_width;
  /** Units in the last panel where so few are left; 0 where all panels have whole vectors. */
  size_t half_width;
  rnn_cpu_kernel _Nonnull fused_sequence;
  /** Rows that fused steps multiply at once beside themselves; 0 where they do not. */
  size_t beside_rows;
} rnn_cpu_kernels;

void rnn_cpu_fill_baseline_f32(rnn_cpu_kernels *_Nonnull table);
void rnn_cpu_fill_baseline_f64(rnn_cpu_kernels *_Nonnull table);
#if defined(__x86_64__)
void rnn_cpu_fill_v3_f32(rnn_cpu_kernels *_Nonnull table);
void rnn_cpu_fill_v3_f64(rnn_cpu_kernels *_Nonnull table);
void rnn_cpu_fill_v4_f32(rnn_cpu_kernels *_Nonnull table);
void rnn_cpu_fill_v4_f64(rnn_cpu_kernels *_Nonnull table);
#endif

#endif
