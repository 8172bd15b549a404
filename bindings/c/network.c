/* A network of named nodes, run in every way: all at once, in chunks, one row at a time, step by step from a stream, padded.
 * All of them give the same bits. */
#include "check.h"

enum { T = 11, N = 3, I = 6, H = 20, O = 4, VOCABULARY = 9 };

/** Tokens and features, summed, then two LSTM layers, a residual GRU, and a linear layer. */
static rnn_network *build(void) {
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  MUST(rnn_builder_create(NULL, &builder));
  MUST(rnn_builder_add_token_input(builder, "letter"));
  MUST(rnn_builder_add_embedding(builder, "embedding", "letter", VOCABULARY, I));
  MUST(rnn_builder_add_input(builder, "features", I));
  const char *both[] = {"embedding", "features"};
  MUST(rnn_builder_add_sum(builder, "both", both, 2));

  rnn_recurrent_options lstm = RNN_RECURRENT_OPTIONS_INIT;
  lstm.cell = RNN_CELL_LSTM;
  lstm.hidden_size = H;
  lstm.num_layers = 2;
  MUST(rnn_builder_add_recurrent(builder, "lstm", "both", &lstm));

  rnn_recurrent_options gru = RNN_RECURRENT_OPTIONS_INIT;
  gru.cell = RNN_CELL_GRU;
  gru.gru_variant = RNN_GRU_RESET_AFTER;
  gru.hidden_size = H;
  MUST(rnn_builder_add_recurrent(builder, "gru", "lstm", &gru));
  const char *residual[] = {"lstm", "gru"};
  MUST(rnn_builder_add_sum(builder, NULL, residual, 2));
  MUST(rnn_builder_add_linear(builder, "output", NULL, O, 1));

  rnn_build_options options = RNN_BUILD_OPTIONS_INIT;
  options.seed = 42;
  options.forget_bias = 1;
  MUST(rnn_builder_build(builder, &options, &network));
  rnn_builder_destroy(builder);
  return network;
}

static float input[T * N * I], whole[T * N * O], final_state[3 * 2 * H * N];
static int64_t tokens[T * N];
static size_t state_count;

static void describe(rnn_network *network) {
  SECTION("what the network is");
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  MUST(rnn_network_describe(network, &info));
  CHECK(info.dtype == RNN_DTYPE_FLOAT32 && info.streamable == 1 && info.single_step_output == 0);
  CHECK(info.input_size == I && info.token_count == 1 && info.output_size == O && info.layer_directions == 3);
  CHECK(info.state_count == 3 && info.state_elements == 2 * 2 * H + H);

  size_t elements = 0;
  for (size_t i = 0; i < info.parameter_count; i++) {
    rnn_tensor_info tensor = RNN_TENSOR_INFO_INIT;
    MUST(rnn_network_parameter_info(network, i, &tensor));
    printf("  %-24s [%zu", tensor.name, tensor.shape[0]);
    if (tensor.rank == 2) printf(", %zu", tensor.shape[1]);
    printf("]\n");
    CHECK(tensor.offset == elements);
    elements += tensor.element_count;
  }
  CHECK(elements == info.parameter_elements);
  rnn_tensor_info past = RNN_TENSOR_INFO_INIT;
  EXPECT(RNN_ERROR_NOT_FOUND, rnn_network_parameter_info(network, info.parameter_count, &past));

  for (size_t i = 0; i < info.state_count; i++) {
    rnn_tensor_info tensor = RNN_TENSOR_INFO_INIT;
    MUST(rnn_network_state_info(network, i, &tensor));
    printf("  state %-18s [%zu, N, %zu]\n", tensor.name, tensor.shape[0], tensor.shape[2]);
  }
  state_count = N * info.state_elements;
}

static void run_whole(rnn_network *network) {
  rnn_state *state = NULL;
  rnn_state_options options = RNN_STATE_OPTIONS_INIT;
  options.batch_size = N;
  MUST(rnn_state_create(network, &options, &state));
  MUST(rnn_network_run(network, T, N, input, COUNT(input), tokens, COUNT(tokens), NULL, 0, state, whole, COUNT(whole), NULL));
  MUST(rnn_state_read(state, NULL, final_state, state_count));
  rnn_state_destroy(state);
  double size = 0;
  for (size_t i = 0; i < COUNT(whole); i++) size = fmax(size, fabs(whole[i]));
  CHECK(size > 1e-3 && size < 1e3);
}

static void run_in_chunks(rnn_network *network) {
  SECTION("in chunks of 1, 0, 4 and 6 steps");
  rnn_state *state = NULL;
  rnn_state_options options = RNN_STATE_OPTIONS_INIT;
  options.batch_size = N;
  MUST(rnn_state_create(network, &options, &state));
  static const size_t chunks[] = {1, 0, 4, 6};
  float output[T * N * O];
  size_t t = 0;
  for (size_t i = 0; i < COUNT(chunks); i++) {
    const size_t steps = chunks[i];
    MUST(rnn_network_run(network, steps, N, input + t * N * I, steps * N * I, tokens + t * N, steps * N, NULL, 0, state,
                         output + t * N * O, steps * N * O, NULL));
    t += steps;
  }
  CHECK(SAME_BITS(output, whole));
  float reached[COUNT(final_state)] = {0};
  MUST(rnn_state_read(state, NULL, reached, state_count));
  CHECK(SAME_BITS(reached, final_state));
  rnn_state_destroy(state);
}

static void run_rows_alone(rnn_network *network) {
  SECTION("each row alone, batch first");
  rnn_run_options options = RNN_RUN_OPTIONS_INIT;
  options.batch_first = 1;
  float output[T * N * O];
  for (size_t n = 0; n < N; n++) {
    float x[T * I], y[T * O];
    int64_t letters[T];
    for (size_t t = 0; t < T; t++) {
      memcpy(x + t * I, input + (t * N + n) * I, I * sizeof(float));
      letters[t] = tokens[t * N + n];
    }
    MUST(rnn_network_run(network, T, 1, x, COUNT(x), letters, COUNT(letters), NULL, 0, NULL, y, COUNT(y), &options));
    for (size_t t = 0; t < T; t++) memcpy(output + (t * N + n) * O, y + t * O, O * sizeof(float));
  }
  CHECK(SAME_BITS(output, whole));
}

static void run_padded(rnn_network *network) {
  SECTION("rows of different lengths");
  const int64_t lengths[N] = {4, 0, T};
  float dirty[T * N * I], output[T * N * O];
  int64_t dirty_tokens[T * N];
  memcpy(dirty, input, sizeof dirty);
  memcpy(dirty_tokens, tokens, sizeof dirty_tokens);
  for (size_t t = 0; t < T; t++)
    for (size_t n = 0; n < N; n++)
      if ((int64_t)t >= lengths[n]) {
        for (size_t i = 0; i < I; i++) dirty[(t * N + n) * I + i] = NAN; /* padding is never read */
        dirty_tokens[t * N + n] = -7;
      }
  MUST(rnn_network_run(network, T, N, dirty, COUNT(dirty), dirty_tokens, COUNT(dirty_tokens), lengths, N, NULL, output,
                       COUNT(output), NULL));
  for (size_t t = 0; t < T; t++)
    for (size_t n = 0; n < N; n++) {
      static const float zeros[O] = {0};
      const float *expected = (int64_t)t < lengths[n] ? whole + (t * N + n) * O : zeros;
      CHECK(memcmp(output + (t * N + n) * O, expected, sizeof zeros) == 0);
    }
}

static void stream(rnn_network *network) {
  SECTION("a stream, one step at a time");
  rnn_stream *stream = NULL;
  rnn_stream_options options = RNN_STREAM_OPTIONS_INIT;
  options.batch_size = N;
  MUST(rnn_stream_create(network, &options, &stream));
  float *x, *y, output[T * N * O];
  int64_t *letters;
  size_t x_count, y_count, letter_count;
  MUST(rnn_stream_input(stream, &x, &x_count));
  MUST(rnn_stream_output(stream, &y, &y_count));
  MUST(rnn_stream_tokens(stream, &letters, &letter_count));
  CHECK(x_count == N * I && y_count == N * O && letter_count == N);
  for (size_t t = 0; t < T; t++) {
    memcpy(x, input + t * N * I, x_count * sizeof(float));
    memcpy(letters, tokens + t * N, letter_count * sizeof(int64_t));
    MUST(rnn_stream_step(stream));
    memcpy(output + t * N * O, y, y_count * sizeof(float));
  }
  CHECK(SAME_BITS(output, whole));

  rnn_state *state = NULL;
  rnn_state_options state_options = RNN_STATE_OPTIONS_INIT;
  state_options.batch_size = N;
  MUST(rnn_state_create(network, &state_options, &state));
  MUST(rnn_stream_state_get(stream, state));
  float reached[COUNT(final_state)] = {0};
  MUST(rnn_state_read(state, NULL, reached, state_count));
  CHECK(SAME_BITS(reached, final_state));

  SECTION("a stream, many steps in one call, after a reset");
  MUST(rnn_stream_reset(stream));
  memset(output, 0, sizeof output);
  MUST(rnn_stream_process(stream, T, input, COUNT(input), tokens, COUNT(tokens), output, COUNT(output)));
  CHECK(SAME_BITS(output, whole));

  SECTION("a stream put back to an earlier state repeats itself");
  MUST(rnn_stream_state_set(stream, state));
  MUST(rnn_stream_process(stream, 4, input, 4 * N * I, tokens, 4 * N, output, 4 * N * O));
  float again[4 * N * O];
  MUST(rnn_stream_state_set(stream, state));
  MUST(rnn_stream_process(stream, 4, input, 4 * N * I, tokens, 4 * N, again, COUNT(again)));
  CHECK(memcmp(output, again, sizeof again) == 0);

  SECTION("a token out of range leaves the stream as it was");
  MUST(rnn_stream_state_set(stream, state));
  letters[N - 1] = VOCABULARY;
  EXPECT(RNN_ERROR_INVALID_ARGUMENT, rnn_stream_step(stream));
  MUST(rnn_stream_state_get(stream, state));
  MUST(rnn_state_read(state, NULL, reached, state_count));
  CHECK(SAME_BITS(reached, final_state));
  rnn_state_destroy(state);
  rnn_stream_destroy(stream);
}

static void bidirectional(void) {
  SECTION("a bidirectional network runs, and says that it cannot be streamed");
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  MUST(rnn_builder_create(NULL, &builder));
  MUST(rnn_builder_add_input(builder, NULL, I));
  rnn_recurrent_options options = RNN_RECURRENT_OPTIONS_INIT;
  options.hidden_size = H;
  options.bidirectional = 1;
  options.num_layers = 2;
  MUST(rnn_builder_add_recurrent(builder, NULL, NULL, &options));
  MUST(rnn_builder_add_last_step(builder, NULL, NULL));
  MUST(rnn_builder_build(builder, NULL, &network));
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  MUST(rnn_network_describe(network, &info));
  CHECK(info.streamable == 0 && info.single_step_output == 1 && info.output_size == 2 * H && info.layer_directions == 4);
  float output[N * 2 * H];
  MUST(rnn_network_run(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, NULL, output, COUNT(output), NULL));
  rnn_stream *stream = (rnn_stream *)output; /* anything but NULL */
  EXPECT(RNN_ERROR_UNSUPPORTED, rnn_stream_create(network, NULL, &stream));
  CHECK(stream == NULL);
  printf("  %s\n", rnn_last_error_message());
  rnn_network_destroy(network);
  rnn_builder_destroy(builder);
}

int main(void) {
  fill(input, COUNT(input), 7);
  for (size_t i = 0; i < COUNT(tokens); i++) tokens[i] = (int64_t)(i * 5 % VOCABULARY);
  rnn_network *network = build();
  describe(network);
  if (state_count > COUNT(final_state)) return 1;
  run_whole(network);
  run_in_chunks(network);
  run_rows_alone(network);
  run_padded(network);
  stream(network);
  rnn_network_destroy(network);
  bidirectional();
  return finish();
}
