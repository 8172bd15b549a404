/* A stream's step is real-time safe: steps allocate nothing, make no system call, and take as long
 * for silence as for sound. Linux with glibc; elsewhere only the last is looked at. */
#if defined(__linux__)
#  define _GNU_SOURCE
#endif
#include "check.h"

#include <time.h>
#if defined(__linux__)
#  include <linux/seccomp.h>
#  include <sys/prctl.h>
#  include <sys/syscall.h>
#  include <sys/wait.h>
#  include <unistd.h>
#endif

enum { I = 4, H = 64, STEPS = 2000 };

/* ------------------------------------------------------------------- every allocation of this process is counted */

static volatile long allocations;

#if defined(__GLIBC__)
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

void *malloc(size_t size) {
  allocations++;
  return __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
  allocations++;
  return __libc_calloc(count, size);
}
void *realloc(void *memory, size_t size) {
  allocations++;
  return __libc_realloc(memory, size);
}
void free(void *memory) {
  allocations++;
  __libc_free(memory);
}
int posix_memalign(void **memory, size_t alignment, size_t size) {
  allocations++;
  *memory = __libc_memalign(alignment, size);
  return *memory == NULL ? 12 /* ENOMEM */ : 0;
}
#endif

/* --------------------------------------------------------------------------------------------------- the stream */

/** with_options: everything that sends a layer another way than the plain cell. */
static rnn_network *build(int32_t cell, int with_options) {
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  MUST(rnn_builder_create(NULL, &builder));
  MUST(rnn_builder_add_input(builder, "x", I));
  rnn_recurrent_options options = RNN_RECURRENT_OPTIONS_INIT;
  options.cell = cell;
  options.hidden_size = H;
  options.num_layers = 2;
  options.bias = RNN_BIAS_NONE; /* so that a state decays to nothing on silence */
  if (with_options) {
    options.residual = 1;
    options.learned_initial_state = 1;
    options.gate_clip = 1;
    options.activations[0][0] = RNN_ACTIVATION_HARD_SIGMOID;
    options.activation_alpha[0][0] = 0.2;
    options.activation_beta[0][0] = 0.5;
    if (cell == RNN_CELL_LSTM) {
      options.proj_size = H / 2;
      options.peepholes = 1;
      options.coupled_gates = 1;
      options.cell_clip = 1;
      options.forget_bias = 1;
    }
  }
  MUST(rnn_builder_add_recurrent(builder, "cell", NULL, &options));
  if (with_options) {
    MUST(rnn_builder_add_layer_norm(builder, "norm", NULL, 1e-5));
    MUST(rnn_builder_add_activation(builder, "elu", NULL, RNN_ACTIVATION_ELU, 1, 0));
  }
  MUST(rnn_builder_add_linear(builder, "y", NULL, 1, 0));
  MUST(rnn_builder_build(builder, NULL, &network));
  rnn_builder_destroy(builder);
  return network;
}

/** Steps with the bound input, with arrays of this program, and with copies of the state. */
static void use(rnn_stream *stream, rnn_state *state, const float *sound) {
  float output[8];
  for (int i = 0; i < 100; i++) {
    if (rnn_stream_step(stream) != RNN_OK) abort();
    if (rnn_stream_process(stream, 8, sound, 8 * I, NULL, 0, output, 8) != RNN_OK) abort();
    if (rnn_stream_state_get(stream, state) != RNN_OK || rnn_stream_state_set(stream, state) != RNN_OK) abort();
  }
}

static double seconds(void) { return (double)clock() / CLOCKS_PER_SEC; } /* of this process */

/** Shortest of several measurements of STEPS steps. */
static double time_of_steps(rnn_stream *stream) {
  double shortest = INFINITY;
  for (int repetition = 0; repetition < 9; repetition++) {
    const double begin = seconds();
    for (int i = 0; i < STEPS; i++)
      if (rnn_stream_step(stream) != RNN_OK) abort();
    shortest = fmin(shortest, seconds() - begin);
  }
  return shortest;
}

static void check(const char *name, int32_t cell, int with_options) {
  SECTION(name);
  rnn_network *network = build(cell, with_options);
  rnn_stream *stream = NULL;
  rnn_state *state = NULL;
  float sound[8 * I], *input, *output;
  size_t count;
  fill(sound, COUNT(sound), 6);
  MUST(rnn_stream_create(network, NULL, &stream));
  MUST(rnn_stream_input(stream, &input, &count));
  MUST(rnn_stream_output(stream, &output, &count));
  MUST(rnn_state_create(network, NULL, &state));

  const long before = allocations;
  use(stream, state, sound);
  const long during = allocations - before;
  printf("  allocations: %ld\n", during);
  CHECK(during == 0);

#if defined(__linux__)
  /* In a process that is killed at its first system call but write and exit. */
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    use(stream, state, sound);
    syscall(SYS_exit, 0);
  }
  int ending = -1;
  waitpid(child, &ending, 0);
  printf("  system calls: %s\n", ending == 0 ? "none" : "the process was killed at one");
  CHECK(ending == 0);
#endif

  for (size_t i = 0; i < I; i++) input[i] = (float)sin((double)i);
  const double with_sound = time_of_steps(stream);
  for (size_t i = 0; i < I; i++) input[i] = 0;
  const double with_silence = time_of_steps(stream);
  printf("  a step: %.2f us on sound, %.2f us on silence\n", with_sound / STEPS * 1e6, with_silence / STEPS * 1e6);
  CHECK(with_silence < 3 * with_sound); /* on denormal numbers it would be ten times and more */
  CHECK(output[0] == 0 || fabsf(output[0]) >= 1.17549435e-38f);

  rnn_state_destroy(state);
  rnn_stream_destroy(stream);
  rnn_network_destroy(network);
}

int main(void) {
  check("vanilla", RNN_CELL_VANILLA, 0);
  check("GRU", RNN_CELL_GRU, 0);
  check("LSTM", RNN_CELL_LSTM, 0);
  check("vanilla with options", RNN_CELL_VANILLA, 1);
  check("GRU with options", RNN_CELL_GRU, 1);
  check("LSTM with options", RNN_CELL_LSTM, 1);
  return finish();
}
