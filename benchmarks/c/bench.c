/* librnn from C, without Python and without peers: what is left of the machine's limits at each level.
 *
 *     bench [--seconds S] [--threads N]     tables; status 2 if a bar is missed
 *     bench --calls                         one line of JSON: µs of the calls that Python makes too
 *
 * Figures are minima. A percentage is of the FMA peak that is measured in the same run. */
#include "measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "networks.h"

static double seconds = 0.2;
static int missed = 0;

static const char *mark(int passed) {
  missed += !passed;
  return passed ? "PASS" : "FAIL";
}

/* ------------------------------------------------------------------------------------------------- single steps */

/* RTNeural, best of its compile-time backends, ns a step of 1 input -> H -> dense 1, on a core of 175 GFLOP/s. Its GRU is
 * reset-after. */
enum { SIZES = 4 };
static const size_t small[SIZES] = {8, 16, 32, 64};
static const double rtneural_lstm[SIZES] = {53, 75, 169, 614}, rtneural_gru[SIZES] = {48, 69, 129, 390};
static const double rtneural_peak = 175;

static rnn_stream *stream_of(rnn_network *network, size_t threads) {
  rnn_stream *stream = NULL;
  rnn_stream_options options = RNN_STREAM_OPTIONS_INIT;
  options.num_threads = threads;
  if (rnn_stream_create(network, &options, &stream) != RNN_OK) return NULL;
  float *input;
  size_t count;
  MUST(rnn_stream_input(stream, &input, &count));
  float *values = numbers(count);
  memcpy(input, values, count * sizeof *values);
  free(values);
  return stream;
}

static double step_time(enum cell cell, size_t inputs, size_t hidden, size_t outputs, size_t threads) {
  rnn_network *network = recurrent_network(cell, inputs, hidden, outputs);
  rnn_stream *stream = stream_of(network, threads);
  const double time = stream == NULL ? 0 : least(step, stream, seconds);
  rnn_stream_destroy(stream);
  rnn_network_destroy(network);
  return time;
}

static void small_steps(double peak) {
  printf("== one step of 1 input -> H -> dense 1, in ns; the limit is RTNeural's time x %.0f / %.0f GFLOP/s\n", rtneural_peak,
         peak);
  printf("%-18s %4s %8s %8s %8s\n", "", "H", "librnn", "limit", "");
  for (enum cell cell = LSTM; cell <= GRU_BEFORE; cell++) {
    for (int i = 0; i < SIZES; i++) {
      const double limit = (cell == LSTM ? rtneural_lstm : rtneural_gru)[i] * rtneural_peak / peak;
      const double time = 1e9 * step_time(cell, 1, small[i], 1, 1);
      printf("%-18s %4zu %8.0f %8.0f %8s\n", cell_names[cell], small[i], time, limit, mark(time <= limit));
    }
  }
}

static void steps(int threads) {
  printf("\n== one step, I = H: ns, and how fast the weights are read\n%-18s %5s %10s %8s", "", "H", "1 thread", "GB/s");
  if (threads > 1) printf(" %10s %8s", "threads", "GB/s");
  printf("\n");
  for (enum cell cell = LSTM; cell <= VANILLA; cell++) {
    for (size_t hidden = 16; hidden <= 1024; hidden *= 2) {
      const double bytes = 4.0 * (double)(cell_gates[cell] * hidden * 2 * hidden);
      const double one = step_time(cell, hidden, hidden, 0, 1);
      printf("%-18s %5zu %10.0f %8.1f", cell_names[cell], hidden, 1e9 * one, bytes / one / 1e9);
      if (threads > 1 && hidden >= 256) {
        const double more = step_time(cell, hidden, hidden, 0, (size_t)threads);
        if (more > 0) printf(" %10.0f %8.1f", 1e9 * more, bytes / more / 1e9);
        else printf(" %10s %8s", "-", "-");
      }
      printf("\n");
    }
  }
}

/* Puts a state into a stream and steps: h is what it should be at the begin of every step. */
struct restart {
  rnn_stream *stream;
  rnn_state *state;
};

static void step_from(void *argument) {
  const struct restart *from = argument;
  MUST(rnn_stream_state_set(from->stream, from->state));
  MUST(rnn_stream_step(from->stream));
}

/* A step on silence that has decayed: numbers too small for a normal float, in x and in the state. */
static void denormal(void) {
  printf("\n== a step from a state that is set anew, with x and h (and c) 0.5 and 1e-39: ns; ratio at most 1.1\n");
  for (enum cell cell = LSTM; cell <= VANILLA; cell++) {
    const float values[2] = {0.5f, 1e-39f};
    rnn_network *network = recurrent_network(cell, 64, 64, 0);
    rnn_network_info info = RNN_NETWORK_INFO_INIT;
    MUST(rnn_network_describe(network, &info));
    float *states = malloc(info.state_elements * sizeof *states);
    if (states == NULL) abort();
    struct restart from[2];
    for (int i = 0; i < 2; i++) {
      float *input;
      size_t count;
      from[i].stream = stream_of(network, 1);
      MUST(rnn_stream_input(from[i].stream, &input, &count));
      for (size_t k = 0; k < count; k++) input[k] = values[i];
      for (size_t k = 0; k < info.state_elements; k++) states[k] = values[i];
      MUST(rnn_state_create(network, NULL, &from[i].state));
      MUST(rnn_state_write(from[i].state, NULL, states, info.state_elements));
    }
    double times[2];
    least_of_each((work *const[]){step_from, step_from}, (void *const[]){&from[0], &from[1]}, 2, seconds, times);
    printf("%-18s %8.0f %8.0f %6.2f %8s\n", cell_names[cell], 1e9 * times[0], 1e9 * times[1], times[1] / times[0],
           mark(times[1] <= 1.1 * times[0]));
    free(states);
    for (int i = 0; i < 2; i++) {
      rnn_state_destroy(from[i].state);
      rnn_stream_destroy(from[i].stream);
    }
    rnn_network_destroy(network);
  }
}

/* --------------------------------------------------------------------------------------------------- throughput */

static void products(double peak) {
  printf("\n== packed products X [rows, H] W [H, 4H] with bias, GFLOP/s and percent of peak; at least 90 for H to 256\n");
  printf("%6s %6s %9s %6s\n", "H", "rows", "GFLOP/s", "%");
  const size_t rows[] = {32, 128, 1024};
  for (size_t hidden = 64; hidden <= 1024; hidden *= 2) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
      rnn_network *network = linear_network(hidden, 4 * hidden);
      struct pass *pass = make_pass(network, 1, rows[i], 0);
      const double rate = 2.0 * (double)(rows[i] * hidden * 4 * hidden) / least(run, pass, seconds) / 1e9;
      printf("%6zu %6zu %9.1f %6.1f %s\n", hidden, rows[i], rate, 100 * rate / peak, hidden <= 256 ? mark(rate >= 0.9 * peak) : "");
      free_pass(pass);
      rnn_network_destroy(network);
    }
  }
}

/* The bars are for batches from 32 rows. Gates and activations take time too, which the count of products leaves out. */
static void sequences(double peak) {
  printf("\n== whole sequences forward, T 50, I = H: GFLOP/s of products and percent of peak\n");
  printf("%-18s %5s %5s %9s %6s %6s\n", "", "H", "N", "GFLOP/s", "%", "bar");
  const size_t batches[] = {1, 8, 32, 128};
  for (enum cell cell = LSTM; cell <= VANILLA; cell++) {
    for (size_t hidden = 64; hidden <= 512; hidden *= 2) {
      const double bar = hidden >= 256 ? 80 : hidden >= 128 ? 70 : 55;
      for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        rnn_network *network = recurrent_network(cell, hidden, hidden, 0);
        struct pass *pass = make_pass(network, 50, batches[i], 0);
        const double flops = 2.0 * 50 * (double)(batches[i] * cell_gates[cell] * hidden * 2 * hidden);
        const double rate = flops / least(run, pass, seconds) / 1e9;
        printf("%-18s %5zu %5zu %9.1f %6.1f", cell_names[cell], hidden, batches[i], rate, 100 * rate / peak);
        if (batches[i] >= 32 && cell != VANILLA) printf(" %6.0f %s", bar, mark(100 * rate / peak >= bar));
        printf("\n");
        free_pass(pass);
        rnn_network_destroy(network);
      }
    }
  }
}

static void training(double peak, int threads) {
  printf("\n== a training step, T 50, I = H, gradients of all weights: GFLOP/s of products and percent of peak, 1 thread");
  if (threads > 1) printf(" and %d (percent of its peak)", threads);
  const double more_peak = threads > 1 ? fma_peak(threads, 0.2) : peak;
  printf("\n%-18s %5s %5s %9s %6s", "", "H", "N", "GFLOP/s", "%");
  if (threads > 1) printf(" %9s %6s", "GFLOP/s", "%");
  printf("\n");
  for (enum cell cell = LSTM; cell <= VANILLA; cell++) {
    for (size_t hidden = 128; hidden <= 512; hidden *= 2) {
      for (size_t rows = 8; rows <= 32; rows *= 4) {
        rnn_network *network = recurrent_network(cell, hidden, hidden, 0);
        struct pass *pass = make_pass(network, 50, rows, 1);
        /* forward, gradients of both weights, and dH */
        const double flops = 2.0 * 50 * (double)(rows * cell_gates[cell] * hidden) * (double)(2 * hidden + 2 * hidden + hidden);
        MUST(rnn_threads_set(1));
        const double one = flops / least(train, pass, seconds) / 1e9;
        printf("%-18s %5zu %5zu %9.1f %6.1f", cell_names[cell], hidden, rows, one, 100 * one / peak);
        if (threads > 1) {
          MUST(rnn_threads_set((size_t)threads));
          const double more = flops / least(train, pass, seconds) / 1e9;
          printf(" %9.1f %6.1f", more, 100 * more / more_peak);
          MUST(rnn_threads_set(1));
        }
        printf("\n");
        free_pass(pass);
        rnn_network_destroy(network);
      }
    }
  }
}

/* ------------------------------------------------------------------------------------------------------- calls */

/* A call of rnn_network_run_arrays, and one of rnn_lstm_forward: one step of one row. */
struct arrays {
  struct pass *pass;
  float *initial, *final;
  size_t count;
};

static struct arrays make_arrays(rnn_network *network, int has_initial) {
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  MUST(rnn_network_describe(network, &info));
  struct arrays arrays = {make_pass(network, 1, 1, 0), NULL, numbers(info.state_elements), info.state_elements};
  if (has_initial) arrays.initial = numbers(info.state_elements);
  return arrays;
}

static void free_arrays(struct arrays arrays) {
  free_pass(arrays.pass);
  free(arrays.initial);
  free(arrays.final);
}

static void run_arrays(void *context) {
  const struct arrays *a = context;
  const struct pass *p = a->pass;
  MUST(rnn_network_run_arrays(p->network, p->T, p->N, p->x, p->T * p->N * p->inputs, NULL, 0, NULL, 0, a->initial,
                              a->initial != NULL ? a->count : 0, p->y, p->T * p->N * p->outputs, a->final, a->count, NULL));
}

enum { UNITS = 16 };

struct cell_arrays {
  float *x, *h, *c, *weight_ih, *weight_hh, *bias, *out_h, *out_c;
};

static void lstm_step(void *context) {
  const struct cell_arrays *a = context;
  MUST(rnn_lstm_forward(1, UNITS, UNITS, a->x, a->h, a->c, a->weight_ih, a->weight_hh, a->bias, a->bias, a->out_h, a->out_c,
                        NULL));
}

/* The networks and calls of harness/overhead.py. */
static void calls(void) {
  rnn_network *layer = recurrent_network(LSTM, UNITS, UNITS, 0), *chain = recurrent_network(LSTM, UNITS, UNITS, 4);
  rnn_stream *stream = stream_of(layer, 1);
  struct arrays plain = make_arrays(layer, 0), from_state = make_arrays(layer, 1), with_linear = make_arrays(chain, 0);
  struct cell_arrays cell = {
      numbers(UNITS), numbers(UNITS), numbers(UNITS), numbers(4 * UNITS * UNITS), numbers(4 * UNITS * UNITS),
      numbers(4 * UNITS), numbers(UNITS), numbers(UNITS)};
  const char *const names[] = {"rnn_stream_step", "rnn_network_run_arrays", "rnn_network_run_arrays, from a state",
                               "rnn_network_run_arrays, with a linear layer", "rnn_lstm_forward"};
  enum { CALLS = sizeof names / sizeof *names };
  double times[CALLS];
  least_of_each((work *const[]){step, run_arrays, run_arrays, run_arrays, lstm_step},
                (void *const[]){stream, &plain, &from_state, &with_linear, &cell}, CALLS, seconds, times);
  for (int i = 0; i < CALLS; i++) printf("%s\"%s\": %.4f", i == 0 ? "{" : ", ", names[i], 1e6 * times[i]);
  printf("}\n");
  float *const of_cell[] = {cell.x, cell.h, cell.c, cell.weight_ih, cell.weight_hh, cell.bias, cell.out_h, cell.out_c};
  for (size_t i = 0; i < sizeof of_cell / sizeof *of_cell; i++) free(of_cell[i]);
  free_arrays(plain);
  free_arrays(from_state);
  free_arrays(with_linear);
  rnn_stream_destroy(stream);
  rnn_network_destroy(chain);
  rnn_network_destroy(layer);
}

int main(int count, char **arguments) {
  int threads = 1, only_calls = 0;
  for (int i = 1; i < count; i++) {
    if (strcmp(arguments[i], "--calls") == 0) only_calls = 1;
    else if (strcmp(arguments[i], "--seconds") == 0 && i + 1 < count) seconds = atof(arguments[++i]);
    else if (strcmp(arguments[i], "--threads") == 0 && i + 1 < count) threads = atoi(arguments[++i]);
    else {
      fprintf(stderr, "usage: bench [--seconds S] [--threads N] [--calls]\n");
      return 1;
    }
  }
  if (!(seconds > 0) || threads < 1) {
    fprintf(stderr, "seconds must be above 0, threads at least 1\n");
    return 1;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  MUST(rnn_threads_set(1));
  if (threads == 1) pin();
  if (only_calls) {
    calls();
    return 0;
  }
  const double peak = fma_peak(1, 0.5);
  printf("librnn %s, kernels %s; FMA peak of one thread %.1f GFLOP/s\n\n", rnn_version(), rnn_kernels_name(), peak);
  small_steps(peak);
  steps(threads);
  denormal();
  products(peak);
  sequences(peak);
  training(peak, threads);
  printf("\n%d bar%s missed\n", missed, missed == 1 ? "" : "s");
  return missed ? 2 : 0;
}
