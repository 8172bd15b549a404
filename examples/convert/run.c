/* Runs any model file on numbers from standard input: what a converted model needs in C is rnn_network_load and rnn_network_run.
 *
 *     cc -std=c99 run.c $(pkg-config --cflags --libs rnn) -o run
 *     ./run model.safetensors < steps.txt
 *
 * The numbers of a step stand one after the other: its features, then its tokens; so do the steps. Each step of the output is a
 * line, with as many digits as tell the number exactly.
 */
#include <inttypes.h>
#include <rnn.h>
#include <stdio.h>
#include <stdlib.h>

/** A whole sequence, one row. */
typedef struct {
  size_t T;
  double *features; /* [T, input_size] */
  int64_t *tokens;  /* [T, token_count] */
} sequence;

static int failed(const char *what) {
  fprintf(stderr, "run: %s: %s\n", what, rnn_last_error_message());
  return 1;
}

static void *grown(void *memory, size_t count, size_t size) {
  void *larger = realloc(memory, count * size + 1);
  if (larger == NULL) fputs("run: no memory\n", stderr), exit(1);
  return larger;
}

/** Reads steps up to the end of the input; 0, or 1 for what is no number, or a step that is cut short. */
static int read_steps(const rnn_network_info *info, sequence *steps) {
  const size_t width = info->input_size + info->token_count;
  for (size_t capacity = 0;; steps->T++) {
    if (steps->T == capacity) {
      capacity = 2 * capacity + 64;
      steps->features = grown(steps->features, capacity * info->input_size, sizeof *steps->features);
      steps->tokens = grown(steps->tokens, capacity * info->token_count, sizeof *steps->tokens);
    }
    for (size_t i = 0; i < width; i++) {
      double *feature = steps->features + steps->T * info->input_size + i;
      int64_t *token = steps->tokens + steps->T * info->token_count + (i - info->input_size);
      const int read = i < info->input_size ? scanf("%lf", feature) : scanf("%" SCNd64, token);
      if (read == EOF && i == 0) return 0;
      if (read != 1) {
        fprintf(stderr, "run: step %zu: expected %zu features and %zu tokens\n", steps->T, info->input_size, info->token_count);
        return 1;
      }
    }
  }
}

/** Runs the network in its own precision; the output as double, which is exact. */
static rnn_status run(rnn_network *network, const rnn_network_info *info, const sequence *steps, double *y, size_t y_count) {
  const size_t x_count = steps->T * info->input_size, token_count = steps->T * info->token_count;
  if (info->dtype == RNN_DTYPE_FLOAT64)
    return rnn_network_run_f64(
        network, steps->T, 1, steps->features, x_count, steps->tokens, token_count, NULL, 0, NULL, y, y_count, NULL);
  float *x = grown(NULL, x_count, sizeof *x), *out = grown(NULL, y_count, sizeof *out);
  for (size_t i = 0; i < x_count; i++) x[i] = (float)steps->features[i];
  const rnn_status status =
      rnn_network_run(network, steps->T, 1, x, x_count, steps->tokens, token_count, NULL, 0, NULL, out, y_count, NULL);
  for (size_t i = 0; i < y_count && status == RNN_OK; i++) y[i] = out[i];
  free(x);
  free(out);
  return status;
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s MODEL < STEPS\n", argv[0]);
    return 2;
  }
  rnn_network *network = NULL;
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  sequence steps = { 0, NULL, NULL };
  if (rnn_network_load(argv[1], NULL, &network)) return failed(argv[1]);
  if (rnn_network_describe(network, &info)) return failed("the network");
  if (read_steps(&info, &steps)) return 1;

  const size_t lines = info.single_step_output ? 1 : steps.T;
  double *y = grown(NULL, lines * info.output_size, sizeof *y);
  if (run(network, &info, &steps, y, lines * info.output_size)) return failed("a run");
  for (size_t line = 0; line < lines; line++)
    for (size_t i = 0; i < info.output_size; i++)
      printf("%.*g%c", info.dtype == RNN_DTYPE_FLOAT64 ? 17 : 9, y[line * info.output_size + i], i + 1 < info.output_size ? ' ' : '\n');

  free(y);
  free(steps.features);
  free(steps.tokens);
  rnn_network_destroy(network);
  return 0;
}
