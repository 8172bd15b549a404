/* States as plain arrays: rnn_network_run_arrays does what rnn_network_run does with an rnn_state, to the bit. */
#include "check.h"

enum { T = 7, N = 3, I = 2, H = 5, L = 2, STATE = 2 * L * N * H };

static const int64_t lengths[N] = {4, 7, 0};
static float input[T * N * I];

static rnn_network *build(int learned_initial_state) {
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  rnn_recurrent_options lstm = RNN_RECURRENT_OPTIONS_INIT;
  lstm.cell = RNN_CELL_LSTM;
  lstm.hidden_size = H;
  lstm.num_layers = L;
  lstm.learned_initial_state = learned_initial_state;
  MUST(rnn_builder_create(NULL, &builder));
  MUST(rnn_builder_add_input(builder, "x", I));
  MUST(rnn_builder_add_recurrent(builder, "lstm", NULL, &lstm));
  MUST(rnn_builder_build(builder, NULL, &network));
  rnn_builder_destroy(builder);
  return network;
}

/** The same by way of an rnn_state, which begins with `initial`, or as it is made for NULL. */
static void with_state(
    rnn_network *network, const float *initial, const int64_t *ends, const rnn_run_options *options,
    float output[T * N * H], float final[STATE]) {
  rnn_state *state = NULL;
  rnn_state_options rows = RNN_STATE_OPTIONS_INIT;
  rows.batch_size = N;
  MUST(rnn_state_create(network, &rows, &state));
  if (initial != NULL) MUST(rnn_state_write(state, NULL, initial, STATE));
  MUST(rnn_network_run(network, T, N, input, COUNT(input), NULL, 0, ends, ends ? N : 0, state, output, T * N * H, options));
  MUST(rnn_state_read(state, NULL, final, STATE));
  rnn_state_destroy(state);
}

static rnn_status with_arrays(
    rnn_network *network, const float *initial, const int64_t *ends, const rnn_run_options *options,
    float output[T * N * H], float *final) {
  return rnn_network_run_arrays(
      network, T, N, input, COUNT(input), NULL, 0, ends, ends ? N : 0, initial, initial ? STATE : 0, output, T * N * H,
      final, final ? STATE : 0, options);
}

int main(void) {
  fill(input, COUNT(input), 1);
  rnn_network *network = build(0);
  float initial[STATE], expected[T * N * H], output[T * N * H], expected_state[STATE], state[STATE];
  fill(initial, COUNT(initial), 2);

  SECTION("from zeros, and from numbers");
  with_state(network, NULL, NULL, NULL, expected, expected_state);
  MUST(with_arrays(network, NULL, NULL, NULL, output, state));
  CHECK(SAME_BITS(output, expected) && SAME_BITS(state, expected_state));
  with_state(network, initial, NULL, NULL, expected, expected_state);
  MUST(with_arrays(network, initial, NULL, NULL, output, state));
  CHECK(SAME_BITS(output, expected) && SAME_BITS(state, expected_state));

  SECTION("in one array, and without the final state");
  memcpy(state, initial, sizeof state);
  MUST(with_arrays(network, state, NULL, NULL, output, state));
  CHECK(SAME_BITS(output, expected) && SAME_BITS(state, expected_state));
  memset(output, 0, sizeof output);
  MUST(with_arrays(network, initial, NULL, NULL, output, NULL));
  CHECK(SAME_BITS(output, expected));

  SECTION("with lengths, batch first, and the states of empty rows zero");
  rnn_run_options options = RNN_RUN_OPTIONS_INIT;
  options.batch_first = 1;
  options.zero_state_of_empty_rows = 1;
  options.padding_value = -1;
  with_state(network, initial, lengths, &options, expected, expected_state);
  MUST(with_arrays(network, initial, lengths, &options, output, state));
  CHECK(SAME_BITS(output, expected) && SAME_BITS(state, expected_state));

  SECTION("no step at all leaves the initial state");
  MUST(rnn_network_run_arrays(network, 0, N, NULL, 0, NULL, 0, NULL, 0, initial, STATE, NULL, 0, state, STATE, NULL));
  CHECK(SAME_BITS(state, initial));

  SECTION("a learned initial state is used where none is given");
  rnn_network *learned = build(1);
  MUST(rnn_network_parameter_set(learned, "lstm.c_0_l1", initial, H));
  with_state(learned, NULL, NULL, NULL, expected, expected_state);
  MUST(with_arrays(learned, NULL, NULL, NULL, output, state));
  CHECK(SAME_BITS(output, expected) && SAME_BITS(state, expected_state));
  const float zeros[STATE] = {0};
  MUST(with_arrays(learned, zeros, NULL, NULL, output, state));
  CHECK(!SAME_BITS(output, expected));

  SECTION("in double");
  rnn_builder *builder = NULL;
  rnn_builder_options in_double = RNN_BUILDER_OPTIONS_INIT;
  in_double.dtype = RNN_DTYPE_FLOAT64;
  rnn_network *wide = NULL;
  rnn_recurrent_options gru = RNN_RECURRENT_OPTIONS_INIT;
  gru.cell = RNN_CELL_GRU;
  gru.hidden_size = H;
  MUST(rnn_builder_create(&in_double, &builder));
  MUST(rnn_builder_add_input(builder, "x", I));
  MUST(rnn_builder_add_recurrent(builder, "gru", NULL, &gru));
  MUST(rnn_builder_build(builder, NULL, &wide));
  rnn_builder_destroy(builder);
  double x[T * I], whole[T * H], halves[T * H], h[H];
  fill_f64(x, COUNT(x), 3);
  MUST(rnn_network_run_f64(wide, T, 1, x, COUNT(x), NULL, 0, NULL, 0, NULL, whole, COUNT(whole), NULL));
  MUST(rnn_network_run_arrays_f64(wide, 3, 1, x, 3 * I, NULL, 0, NULL, 0, NULL, 0, halves, 3 * H, h, H, NULL));
  MUST(rnn_network_run_arrays_f64(
      wide, T - 3, 1, x + 3 * I, (T - 3) * I, NULL, 0, NULL, 0, h, H, halves + 3 * H, (T - 3) * H, h, H, NULL));
  CHECK(SAME_BITS(halves, whole) && memcmp(h, whole + (T - 1) * H, sizeof h) == 0);

  SECTION("what is refused leaves output and final state alone");
  memcpy(expected, output, sizeof output);
  memcpy(expected_state, state, sizeof state);
  EXPECT(RNN_ERROR_BUFFER_TOO_SMALL, rnn_network_run_arrays(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, initial,
                                                            STATE - 1, output, COUNT(output), state, STATE, NULL));
  CHECK(strstr(rnn_last_error_message(), "initial_state_count") != NULL);
  EXPECT(RNN_ERROR_BUFFER_TOO_SMALL, rnn_network_run_arrays(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, initial,
                                                            STATE, output, COUNT(output), state, STATE - 1, NULL));
  CHECK(strstr(rnn_last_error_message(), "final_state_count") != NULL);
  EXPECT(RNN_ERROR_INVALID_ARGUMENT, rnn_network_run_arrays(network, T - 1, N, input, COUNT(input), NULL, 0, NULL, 0,
                                                            state + 1, STATE - 1, output, COUNT(output), state, STATE, NULL));
  CHECK(strstr(rnn_last_error_message(), "final_state overlaps initial_state") != NULL);
  EXPECT(RNN_ERROR_INVALID_ARGUMENT, rnn_network_run_arrays(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, initial,
                                                            STATE, output, COUNT(output), output, STATE, NULL));
  EXPECT(RNN_ERROR_DTYPE, rnn_network_run_arrays(wide, T, N, input, COUNT(input), NULL, 0, NULL, 0, initial, STATE, output,
                                                 COUNT(output), state, STATE, NULL));
  CHECK(SAME_BITS(output, expected) && SAME_BITS(state, expected_state));

  rnn_network_destroy(network);
  rnn_network_destroy(learned);
  rnn_network_destroy(wide);
  return finish();
}
