/* A learned initial state: when it is used, how a state and a stream take it up, and how it learns. */
#include "check.h"

enum { T = 5, N = 3, I = 2, H = 3, L = 2 };

static float input[T * N * I];

static rnn_network *build(void) {
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  rnn_recurrent_options lstm = RNN_RECURRENT_OPTIONS_INIT;
  lstm.cell = RNN_CELL_LSTM;
  lstm.hidden_size = H;
  lstm.num_layers = L;
  lstm.learned_initial_state = 1;
  MUST(rnn_builder_create(NULL, &builder));
  MUST(rnn_builder_add_input(builder, "x", I));
  MUST(rnn_builder_add_recurrent(builder, "lstm", NULL, &lstm));
  MUST(rnn_builder_build(builder, NULL, &network));
  rnn_builder_destroy(builder);
  return network;
}

static rnn_state *make_state(rnn_network *network) {
  rnn_state_options options = RNN_STATE_OPTIONS_INIT;
  options.batch_size = N;
  rnn_state *state = NULL;
  MUST(rnn_state_create(network, &options, &state));
  return state;
}

/** Parameters h_0 and c_0 of both layers, [L][2][H], as numbers from a seed. */
static void set_learned(rnn_network *network, uint64_t seed, float values[L][2][H]) {
  fill(&values[0][0][0], L * 2 * H, seed);
  MUST(rnn_network_parameter_set(network, "lstm.h_0_l0", values[0][0], H));
  MUST(rnn_network_parameter_set(network, "lstm.c_0_l0", values[0][1], H));
  MUST(rnn_network_parameter_set(network, "lstm.h_0_l1", values[1][0], H));
  MUST(rnn_network_parameter_set(network, "lstm.c_0_l1", values[1][1], H));
}

/** The state that those numbers are: lstm.h [L, N, H], then lstm.c, each row the same. */
static void as_state(float learned[L][2][H], float state[2 * L * N * H]) {
  for (size_t array = 0; array < 2; array++)
    for (size_t layer = 0; layer < L; layer++)
      for (size_t n = 0; n < N; n++)
        memcpy(state + ((array * L + layer) * N + n) * H, learned[layer][array], H * sizeof(float));
}

static void run(rnn_network *network, rnn_state *state, float output[T * N * H]) {
  MUST(rnn_network_run(network, T, N, input, T * N * I, NULL, 0, NULL, 0, state, output, T * N * H, NULL));
}

int main(void) {
  fill(input, COUNT(input), 1);
  rnn_network *network = build();
  float learned[L][2][H], first[2 * L * N * H], second[2 * L * N * H], found[2 * L * N * H];
  float from_null[T * N * H], output[T * N * H], zeros[2 * L * N * H] = {0};

  SECTION("zeros at first");
  rnn_state *state = make_state(network);
  MUST(rnn_state_read(state, NULL, found, COUNT(found)));
  CHECK(SAME_BITS(found, zeros));
  rnn_state_destroy(state);

  SECTION("no state, and a new one, are the learned state");
  set_learned(network, 2, learned);
  as_state(learned, first);
  state = make_state(network);
  MUST(rnn_state_read(state, NULL, found, COUNT(found)));
  CHECK(SAME_BITS(found, first));
  run(network, NULL, from_null);
  run(network, state, output);
  CHECK(SAME_BITS(output, from_null));
  MUST(rnn_state_read(state, NULL, found, COUNT(found)));
  CHECK(!SAME_BITS(found, first)); /* it has become the final one */

  SECTION("written numbers are an ordinary state");
  MUST(rnn_state_write(state, NULL, first, COUNT(first)));
  run(network, state, output);
  CHECK(SAME_BITS(output, from_null));
  MUST(rnn_state_write(state, NULL, zeros, COUNT(zeros)));
  run(network, state, output);
  CHECK(!SAME_BITS(output, from_null));

  SECTION("a state that was made or reset takes up what was learned since; one that was written does not");
  rnn_state *untouched = make_state(network), *clone = NULL, *written = make_state(network);
  MUST(rnn_state_clone(untouched, &clone));
  MUST(rnn_state_write(written, NULL, first, COUNT(first)));
  MUST(rnn_state_reset(state));
  MUST(rnn_state_read(state, NULL, found, COUNT(found)));
  CHECK(SAME_BITS(found, first));
  float expected[T * N * H];
  set_learned(network, 3, learned);
  as_state(learned, second);
  run(network, NULL, expected);
  CHECK(!SAME_BITS(expected, from_null));
  run(network, state, output);
  CHECK(SAME_BITS(output, expected));
  run(network, untouched, output);
  CHECK(SAME_BITS(output, expected));
  run(network, clone, output);
  CHECK(SAME_BITS(output, expected));
  run(network, written, output);
  CHECK(SAME_BITS(output, from_null));

  SECTION("streams begin with it, and take up the present one at a reset");
  rnn_stream *stream = NULL;
  rnn_stream_options rows = RNN_STREAM_OPTIONS_INIT;
  rows.batch_size = N;
  MUST(rnn_stream_create(network, &rows, &stream));
  MUST(rnn_stream_process(stream, T, input, COUNT(input), NULL, 0, output, COUNT(output)));
  CHECK(SAME_BITS(output, expected));
  set_learned(network, 2, learned);
  MUST(rnn_stream_reset(stream));
  MUST(rnn_stream_process(stream, T, input, COUNT(input), NULL, 0, output, COUNT(output)));
  CHECK(SAME_BITS(output, from_null));
  rnn_state *fresh = make_state(network);
  MUST(rnn_stream_state_set(stream, fresh));
  MUST(rnn_stream_process(stream, T, input, COUNT(input), NULL, 0, output, COUNT(output)));
  CHECK(SAME_BITS(output, from_null));
  rnn_stream_destroy(stream);

  SECTION("its gradient is that of the initial state, summed over the rows");
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  MUST(rnn_network_describe(network, &info));
  float gradients[500], y_gradient[T * N * H], state_gradient[COUNT(first)];
  fill(y_gradient, COUNT(y_gradient), 4);
  for (int given = 0; given < 2; given++) {
    rnn_tape *tape = NULL;
    MUST(rnn_state_reset(fresh));
    if (given) MUST(rnn_state_write(fresh, NULL, first, COUNT(first))); /* the same numbers, but the caller's */
    MUST(rnn_network_forward_train(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, fresh, output, COUNT(output), NULL,
                                   &tape));
    CHECK(SAME_BITS(output, from_null));
    MUST(rnn_network_backward(network, tape, y_gradient, COUNT(y_gradient), NULL, NULL, 0, fresh, gradients, COUNT(gradients),
                              NULL));
    MUST(rnn_state_read(fresh, NULL, state_gradient, COUNT(state_gradient)));
    rnn_tensor_info tensor = RNN_TENSOR_INFO_INIT;
    size_t seen = 0;
    for (size_t index = 0; index < info.parameter_count; index++) {
      MUST(rnn_network_parameter_info(network, index, &tensor));
      for (size_t which = 0; which < 2 * L; which++) {
        static const char *const names[2 * L] = {"lstm.h_0_l0", "lstm.h_0_l1", "lstm.c_0_l0", "lstm.c_0_l1"};
        if (strcmp(tensor.name, names[which]) != 0) continue;
        CHECK(tensor.rank == 1 && tensor.shape[0] == H);
        seen++;
        for (size_t j = 0; j < H; j++) {
          double sum = 0;
          for (size_t n = 0; n < N; n++) sum += state_gradient[(which * N + n) * H + j];
          const double gradient = gradients[tensor.offset + j];
          if (given) CHECK(gradient == 0);
          else CHECK(gradient != 0 && fabs(gradient - sum) < 1e-6); /* three floats of about 1, summed */
        }
      }
    }
    CHECK(seen == 2 * L);
    rnn_tape_destroy(tape);
  }

  SECTION("a trainer learns it, where no state is given");
  rnn_trainer *trainer = NULL;
  rnn_trainer_options options = RNN_TRAINER_OPTIONS_INIT;
  options.loss = RNN_LOSS_MSE;
  MUST(rnn_trainer_create(network, &options, NULL, &trainer));
  float target[T * N * H] = {0}, h_0[H];
  rnn_network *trained = NULL;
  MUST(rnn_state_write(fresh, NULL, first, COUNT(first)));
  for (int given = 1; given >= 0; given--) {
    MUST(rnn_trainer_step(trainer, T, N, input, COUNT(input), NULL, 0, NULL, 0, NULL, 0, target, COUNT(target),
                          given ? fresh : NULL, NULL));
    MUST(rnn_trainer_snapshot(trainer, &trained));
    MUST(rnn_network_parameter_get(trained, "lstm.h_0_l0", h_0, H));
    CHECK((memcmp(h_0, learned[0][0], sizeof h_0) == 0) == given);
    if (given) rnn_network_destroy(trained);
  }

  SECTION("and it is in the file");
  rnn_network *loaded = NULL;
  float expected_after[T * N * H];
  run(trained, NULL, expected_after);
  MUST(rnn_network_save(trained, "initial-state.safetensors", NULL));
  MUST(rnn_network_load("initial-state.safetensors", NULL, &loaded));
  remove("initial-state.safetensors");
  run(loaded, NULL, output);
  CHECK(SAME_BITS(output, expected_after));

  SECTION("a state of a network that is gone resets to what it was made of");
  rnn_network_destroy(network);
  MUST(rnn_state_reset(untouched));
  MUST(rnn_state_read(untouched, NULL, found, COUNT(found)));
  CHECK(SAME_BITS(found, first));

  rnn_network_destroy(loaded);
  rnn_network_destroy(trained);
  rnn_trainer_destroy(trainer);
  rnn_state_destroy(fresh);
  rnn_state_destroy(written);
  rnn_state_destroy(clone);
  rnn_state_destroy(untouched);
  rnn_state_destroy(state);
  return finish();
}
