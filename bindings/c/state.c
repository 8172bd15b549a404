/* States: cloned, reset, stored as plain numbers, taken up by another network with the same states. */
#include "check.h"

enum { T = 8, N = 2, I = 3, H = 6, L = 2, V = 5 };

static rnn_network *build(size_t hidden_size) {
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  MUST(rnn_builder_create(NULL, &builder));
  MUST(rnn_builder_add_input(builder, "x", I));
  rnn_recurrent_options lstm = RNN_RECURRENT_OPTIONS_INIT;
  lstm.cell = RNN_CELL_LSTM;
  lstm.hidden_size = hidden_size;
  lstm.num_layers = L;
  MUST(rnn_builder_add_recurrent(builder, "lstm", NULL, &lstm));
  MUST(rnn_builder_build(builder, NULL, &network));
  rnn_builder_destroy(builder);
  return network;
}

/** Another network, of tokens, with an LSTM of the same name and size. */
static rnn_network *build_decoder(const char *name) {
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  MUST(rnn_builder_create(NULL, &builder));
  MUST(rnn_builder_add_token_input(builder, "tokens"));
  MUST(rnn_builder_add_one_hot(builder, "one_hot", NULL, V));
  rnn_recurrent_options lstm = RNN_RECURRENT_OPTIONS_INIT;
  lstm.cell = RNN_CELL_LSTM;
  lstm.hidden_size = H;
  lstm.num_layers = L;
  MUST(rnn_builder_add_recurrent(builder, name, NULL, &lstm));
  MUST(rnn_builder_add_linear(builder, "logits", NULL, V, 1));
  MUST(rnn_builder_build(builder, NULL, &network));
  rnn_builder_destroy(builder);
  return network;
}

static rnn_state *make_state(rnn_network *network, size_t batch_size) {
  rnn_state_options options = RNN_STATE_OPTIONS_INIT;
  options.batch_size = batch_size;
  rnn_state *state = NULL;
  MUST(rnn_state_create(network, &options, &state));
  return state;
}

static float input[T * N * I];

/** Runs the second half of the sequence from `state`. */
static void second_half(rnn_network *network, rnn_state *state, float output[T / 2 * N * H]) {
  const size_t half = T / 2 * N;
  MUST(rnn_network_run(network, T / 2, N, input + half * I, half * I, NULL, 0, NULL, 0, state, output, half * H, NULL));
}

int main(void) {
  fill(input, COUNT(input), 5);
  rnn_network *network = build(H), *twin = build(H), *other = build(H + 1); /* the same seed: the same weights */
  rnn_state *state = make_state(network, N), *clone = NULL;
  float first[T / 2 * N * H], expected[T / 2 * N * H], output[T / 2 * N * H];
  MUST(rnn_network_run(network, T / 2, N, input, T / 2 * N * I, NULL, 0, NULL, 0, state, first, COUNT(first), NULL));

  SECTION("a clone is independent");
  MUST(rnn_state_clone(state, &clone));
  float stored[2 * L * N * H], h[L * N * H], c[L * N * H];
  MUST(rnn_state_read(state, NULL, stored, COUNT(stored)));
  second_half(network, state, expected);
  second_half(network, clone, output);
  CHECK(SAME_BITS(output, expected));

  SECTION("all of it is lstm.h, then lstm.c");
  rnn_state *restored = make_state(network, N);
  MUST(rnn_state_write(restored, NULL, stored, COUNT(stored)));
  MUST(rnn_state_read(restored, "lstm.h", h, COUNT(h)));
  MUST(rnn_state_read(restored, "lstm.c", c, COUNT(c)));
  CHECK(memcmp(h, stored, sizeof h) == 0 && memcmp(c, stored + COUNT(h), sizeof c) == 0);
  /* The last layer's h is the last output: [L, N, H]. */
  CHECK(memcmp(h + N * H, first + (T / 2 - 1) * N * H, N * H * sizeof(float)) == 0);

  SECTION("stored numbers continue the sequence with the same bits");
  second_half(network, restored, output);
  CHECK(SAME_BITS(output, expected));

  SECTION("and so they do in another network of the same layers and weights");
  MUST(rnn_state_write(restored, NULL, stored, COUNT(stored)));
  second_half(twin, restored, output);
  CHECK(SAME_BITS(output, expected));

  SECTION("piece by piece, into a stream of the same network");
  rnn_stream *stream = NULL;
  rnn_stream_options stream_options = RNN_STREAM_OPTIONS_INIT;
  stream_options.batch_size = N;
  MUST(rnn_stream_create(network, &stream_options, &stream));
  MUST(rnn_state_reset(restored));
  MUST(rnn_state_write(restored, "lstm.c", c, COUNT(c)));
  MUST(rnn_state_write(restored, "lstm.h", h, COUNT(h)));
  MUST(rnn_stream_state_set(stream, restored));
  MUST(rnn_stream_process(stream, T / 2, input + T / 2 * N * I, T / 2 * N * I, NULL, 0, output, COUNT(output)));
  CHECK(SAME_BITS(output, expected));
  rnn_stream_destroy(stream);

  SECTION("a state of an encoder begins a decoder, whole or as a stream: what else is in the networks does not matter");
  rnn_network *decoder = build_decoder("lstm"), *stranger = build_decoder("other");
  const int64_t tokens[3 * N] = {0, 1, 2, 3, 4, 0};
  float whole[3 * N * V], steps[3 * N * V];
  MUST(rnn_stream_create(decoder, &stream_options, &stream));
  MUST(rnn_state_write(restored, NULL, stored, COUNT(stored)));
  MUST(rnn_stream_state_set(stream, restored));
  MUST(rnn_stream_process(stream, 3, NULL, 0, tokens, COUNT(tokens), steps, COUNT(steps)));
  MUST(rnn_network_run(decoder, 3, N, NULL, 0, tokens, COUNT(tokens), NULL, 0, restored, whole, COUNT(whole), NULL));
  CHECK(SAME_BITS(whole, steps));
  MUST(rnn_network_run(decoder, 3, N, NULL, 0, tokens, COUNT(tokens), NULL, 0, NULL, steps, COUNT(steps), NULL));
  CHECK(!SAME_BITS(whole, steps)); /* from zeros */
  rnn_stream_destroy(stream);
  MUST(rnn_stream_create(stranger, &stream_options, &stream));
  EXPECT(RNN_ERROR_SHAPE, rnn_stream_state_set(stream, restored)); /* a node of another name */
  rnn_stream_destroy(stream);
  rnn_network_destroy(stranger);
  rnn_network_destroy(decoder);

  SECTION("reset is zero");
  MUST(rnn_state_reset(restored));
  MUST(rnn_state_read(restored, NULL, stored, COUNT(stored)));
  for (size_t i = 0; i < COUNT(stored); i++) CHECK(stored[i] == 0);

  SECTION("what does not fit is refused, and changes nothing");
  float before[COUNT(stored)], after[COUNT(stored)];
  MUST(rnn_state_read(clone, NULL, before, COUNT(before)));
  EXPECT(RNN_ERROR_SHAPE, rnn_state_write(clone, NULL, stored, COUNT(stored) - 1));
  EXPECT(RNN_ERROR_SHAPE, rnn_state_write(clone, "lstm.h", stored, COUNT(stored)));
  EXPECT(RNN_ERROR_NOT_FOUND, rnn_state_write(clone, "gru.h", stored, COUNT(h)));
  EXPECT(RNN_ERROR_BUFFER_TOO_SMALL, rnn_state_read(clone, "lstm.h", h, COUNT(h) - 1));
  double wrong[COUNT(stored)] = {0};
  EXPECT(RNN_ERROR_DTYPE, rnn_state_write_f64(clone, NULL, wrong, COUNT(wrong)));
  EXPECT(RNN_ERROR_DTYPE, rnn_state_read_f64(clone, NULL, wrong, COUNT(wrong)));
  rnn_state *single = make_state(network, 0); /* 0 means one row */
  EXPECT(RNN_ERROR_SHAPE, rnn_network_run(network, T / 2, N, input, T / 2 * N * I, NULL, 0, NULL, 0, single, output,
                                          COUNT(output), NULL));
  float wider[T / 2 * N * (H + 1)];
  EXPECT(RNN_ERROR_SHAPE, rnn_network_run(other, T / 2, N, input, T / 2 * N * I, NULL, 0, NULL, 0, clone, wider,
                                          COUNT(wider), NULL));
  MUST(rnn_state_read(clone, NULL, after, COUNT(after)));
  CHECK(SAME_BITS(before, after));

  SECTION("a state outlives its network, as numbers");
  rnn_network_destroy(network);
  MUST(rnn_state_read(clone, NULL, after, COUNT(after)));
  CHECK(SAME_BITS(before, after));

  rnn_state_destroy(single);
  rnn_state_destroy(restored);
  rnn_state_destroy(clone);
  rnn_state_destroy(state);
  rnn_network_destroy(twin);
  rnn_network_destroy(other);
  return finish();
}
