#define _GNU_SOURCE
#include "CRNNSupport.h"

#include <sched.h>
#include <string.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

int32_t rnn_cpu_level(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return 4;
  if (__builtin_cpu_supports("x86-64-v3")) return 3;
#endif
  return 0;
}

int32_t rnn_cpu_processor_count(void) {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  const long count = sysconf(_SC_NPROCESSORS_ONLN);
  return count > 0 ? (int32_t)count : 1;
}

void rnn_cpu_pause(void) {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

void rnn_cpu_futex_wait(const void *word, uint32_t value) {
#if defined(__linux__)
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
#else
  (void)word, (void)value;
  sched_yield();
#endif
}

void rnn_cpu_futex_wake(const void *word, int32_t count) {
#if defined(__linux__)
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
#else
  (void)word, (void)count;
#endif
}

#if defined(__x86_64__)
/* Bits of MXCSR: flush to zero 0x8000, the six exception masks 0x1f80, denormals are zero 0x0040, round to nearest 0. */
enum { RNN_CPU_MODE = 0x8000 | 0x1f80 | 0x0040 };

uint32_t rnn_cpu_mode_enter(void) {
  const uint32_t saved = _mm_getcsr();
  if (saved != RNN_CPU_MODE) _mm_setcsr(RNN_CPU_MODE);
  return saved;
}

/* The flags that our own arithmetic raised go with our mode: the caller finds his own. */
void rnn_cpu_mode_leave(uint32_t saved) { _mm_setcsr(saved); }
#elif defined(__aarch64__)
uint32_t rnn_cpu_mode_enter(void) {
  uint64_t saved;
  __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
  __asm__ volatile("msr fpcr, %0" ::"r"((uint64_t)1 << 24) : "memory"); /* FZ; round to nearest; nothing trapped */
  return (uint32_t)saved;
}
void rnn_cpu_mode_leave(uint32_t saved) { __asm__ volatile("msr fpcr, %0" ::"r"((uint64_t)saved) : "memory"); }
#else
#error "librnn does not know this processor's floating-point mode"
#endif

static _Thread_local char message[1024];

const char *rnn_cpu_message(void) { return message; }

void rnn_cpu_message_set(const char *utf8, size_t count) {
  if (count >= sizeof message) {
    count = sizeof message - 1;
    /* Do not cut a UTF-8 sequence in two. */
    while (count > 0 && ((unsigned char)utf8[count] & 0xc0) == 0x80) count--;
  }
  memcpy(message, utf8, count);
  message[count] = 0;
}
