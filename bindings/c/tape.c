/* What a tape tells: h, c and gates of every step, and how the gradient flows back through them. */
#include "check.h"

enum { T = 5, N = 2, I = 2, H = 3 };

static double input[T * N * I];

/** One layer of doubles, without anything before or after it. */
static rnn_network *build(size_t input_size, const rnn_recurrent_options *options) {
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  rnn_builder_options doubles = RNN_BUILDER_OPTIONS_INIT;
  doubles.dtype = RNN_DTYPE_FLOAT64;
  MUST(rnn_builder_create(&doubles, &builder));
  MUST(rnn_builder_add_input(builder, "x", input_size));
  MUST(rnn_builder_add_recurrent(builder, "r", NULL, options));
  MUST(rnn_builder_build(builder, NULL, &network));
  rnn_builder_destroy(builder);
  return network;
}

static void set(rnn_network *network, const char *name, double value) {
  MUST(rnn_network_parameter_set_f64(network, name, &value, 1));
}

static void names(void) {
  SECTION("names and shapes");
  static const char *const wanted[] = {"r.h_l0", "r.c_l0", "r.gates_l0", "r.h_l0_reverse", "r.c_l0_reverse",
                                       "r.gates_l0_reverse", "r.h_l1", "r.c_l1", "r.gates_l1", "r.h_l1_reverse",
                                       "r.c_l1_reverse", "r.gates_l1_reverse"};
  rnn_recurrent_options options = RNN_RECURRENT_OPTIONS_INIT;
  options.cell = RNN_CELL_LSTM;
  options.hidden_size = H;
  options.num_layers = 2;
  options.bidirectional = 1;
  options.hidden_size_reverse = 2;
  rnn_network *network = build(I, &options);
  rnn_tape *tape = NULL;
  double y[T * N * (H + 2)], values[T * N * 4 * H];
  MUST(rnn_network_forward_train_f64(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, NULL, y, COUNT(y), NULL, &tape));
  for (size_t i = 0; i < COUNT(wanted); i++) {
    rnn_tensor_info info = RNN_TENSOR_INFO_INIT;
    MUST(rnn_tape_tensor_info(tape, i, &info));
    const size_t width = i / 3 % 2 ? 2 : H;
    CHECK(strcmp(info.name, wanted[i]) == 0);
    CHECK(info.shape[0] == T && info.shape[1] == N && info.shape[info.rank - 1] == width);
    CHECK(info.rank == (i % 3 == 2 ? 4u : 3u) && (i % 3 != 2 || info.shape[2] == 4));
    CHECK(info.element_count == T * N * width * (i % 3 == 2 ? 4 : 1));
    MUST(rnn_tape_read_f64(tape, info.name, values, info.element_count));
    EXPECT(RNN_ERROR_BUFFER_TOO_SMALL, rnn_tape_read_f64(tape, info.name, values, info.element_count - 1));
  }
  rnn_tensor_info info = RNN_TENSOR_INFO_INIT;
  float single[T * N * H];
  EXPECT(RNN_ERROR_NOT_FOUND, rnn_tape_tensor_info(tape, COUNT(wanted), &info));
  EXPECT(RNN_ERROR_NOT_FOUND, rnn_tape_read_f64(tape, "r.h_l2", values, COUNT(values)));
  EXPECT(RNN_ERROR_INVALID_ARGUMENT, rnn_tape_read_f64(tape, NULL, values, COUNT(values)));
  EXPECT(RNN_ERROR_DTYPE, rnn_tape_read(tape, "r.h_l0", single, COUNT(single)));

  SECTION("h of the last layer is its output, both directions by the time of the input");
  MUST(rnn_tape_read_f64(tape, "r.h_l1", values, T * N * H));
  for (size_t i = 0; i < T * N; i++) CHECK(memcmp(values + i * H, y + i * (H + 2), H * sizeof(double)) == 0);
  MUST(rnn_tape_read_f64(tape, "r.h_l1_reverse", values, T * N * 2));
  for (size_t i = 0; i < T * N; i++) CHECK(memcmp(values + i * 2, y + i * (H + 2) + H, 2 * sizeof(double)) == 0);

  SECTION("a tape can be read after its network is gone");
  rnn_network_destroy(network);
  MUST(rnn_tape_read_f64(tape, "r.gates_l0", values, COUNT(values)));
  rnn_tape_destroy(tape);
}

/** h and c follow from the gates: the equations of the manual. */
static void equations(void) {
  const int64_t lengths[N] = {T, 3};
  double y[T * N * H], gates[T * N * 4 * H], c[T * N * H], begin[2 * N * H];
  for (int32_t cell = RNN_CELL_VANILLA; cell <= RNN_CELL_LSTM; cell++) {
    static const char *const cells[] = {"vanilla: h is the gate", "GRU: h' = z h + (1 - z) n", "LSTM: c' = f c + i g, h' = o tanh(c')"};
    static const size_t gate_counts[] = {1, 3, 4};
    SECTION(cells[cell]);
    rnn_recurrent_options options = RNN_RECURRENT_OPTIONS_INIT;
    options.cell = cell;
    options.hidden_size = H;
    rnn_network *network = build(I, &options);
    rnn_tape *tape = NULL;
    rnn_state *state = NULL;
    rnn_state_options rows = RNN_STATE_OPTIONS_INIT;
    rows.batch_size = N;
    const size_t state_count = (cell == RNN_CELL_LSTM ? 2 : 1) * N * H, G = gate_counts[cell];
    fill_f64(begin, COUNT(begin), 4);
    MUST(rnn_state_create(network, &rows, &state));
    MUST(rnn_state_write_f64(state, NULL, begin, state_count));
    MUST(rnn_network_forward_train_f64(network, T, N, input, COUNT(input), NULL, 0, lengths, N, state, y, COUNT(y), NULL, &tape));
    double h[T * N * H];
    MUST(rnn_tape_read_f64(tape, "r.h_l0", h, COUNT(h)));
    MUST(rnn_tape_read_f64(tape, "r.gates_l0", gates, T * N * G * H));
    if (cell == RNN_CELL_LSTM) MUST(rnn_tape_read_f64(tape, "r.c_l0", c, COUNT(c)));
    double worst = 0;
    for (size_t t = 0; t < T; t++)
      for (size_t n = 0; n < N; n++)
        for (size_t j = 0; j < H; j++) {
          const size_t at = (t * N + n) * H + j;
          const double *gate = gates + (t * N + n) * G * H + j; /* gate k is at k * H */
          const double h_before = t ? h[at - N * H] : begin[n * H + j];
          if ((int64_t)t >= lengths[n]) { /* the state stays, and there are no gates */
            CHECK(h[at] == h_before);
            for (size_t k = 0; k < G; k++) CHECK(gate[k * H] == 0);
            if (cell == RNN_CELL_LSTM) CHECK(c[at] == c[at - N * H]);
            continue;
          }
          double wanted = gate[0];
          if (cell == RNN_CELL_GRU) wanted = gate[H] * h_before + (1 - gate[H]) * gate[2 * H];
          if (cell == RNN_CELL_LSTM) {
            const double c_before = t ? c[at - N * H] : begin[N * H + n * H + j];
            worst = fmax(worst, fabs(c[at] - (gate[H] * c_before + gate[0] * gate[2 * H])));
            wanted = gate[3 * H] * tanh(c[at]);
          }
          worst = fmax(worst, fabs(h[at] - wanted));
          CHECK(h[at] == y[at]);
        }
    CHECK(worst < 1e-15); /* a few roundings of numbers below 1 */

    SECTION("  means and saturation of the gates are those of what the tape holds");
    double mean[T * RNN_FLOW_GATES], saturation[T * RNN_FLOW_GATES], y_gradient[T * N * H] = {0};
    rnn_backward_options flow = RNN_BACKWARD_OPTIONS_INIT;
    flow.gate_mean = mean;
    flow.gate_mean_count = COUNT(mean);
    flow.gate_saturation = saturation;
    flow.gate_saturation_count = COUNT(saturation);
    MUST(rnn_network_backward_f64(network, tape, y_gradient, COUNT(y_gradient), NULL, NULL, 0, NULL, NULL, 0, &flow));
    for (size_t t = 0; t < T; t++)
      for (size_t k = 0; k < RNN_FLOW_GATES; k++) {
        double sum = 0, share = 0;
        size_t count = 0;
        for (size_t n = 0; n < N && k < G; n++)
          for (size_t j = 0; j < H && (int64_t)t < lengths[n]; j++, count++) {
            const double value = gates[((t * N + n) * G + k) * H + j];
            const int is_candidate = cell == RNN_CELL_VANILLA || k == 2; /* tanh; the others are sigmoids */
            sum += value;
            share += is_candidate ? fabs(value) > 0.9 : value < 0.1 || value > 0.9;
          }
        CHECK(fabs(mean[t * RNN_FLOW_GATES + k] - (count ? sum / (double)count : 0)) < 1e-15);
        CHECK(saturation[t * RNN_FLOW_GATES + k] == (count ? share / (double)count : 0));
      }
    rnn_state_destroy(state);
    rnn_tape_destroy(tape);
    rnn_network_destroy(network);
  }
}

/** h_t = a h_(t-1) + x_t: a gradient at the last step reads a^(T-1-t). */
static void decay(void) {
  static const double factors[] = {0.5, 1, -2};
  for (size_t each = 0; each < COUNT(factors); each++) {
    const double a = factors[each];
    printf("the gradient of h_t = %g h_(t-1) + x_t is %g^(T-1-t)\n", a, a);
    rnn_recurrent_options options = RNN_RECURRENT_OPTIONS_INIT;
    options.hidden_size = 1;
    options.bias = RNN_BIAS_NONE;
    options.activations[0][0] = RNN_ACTIVATION_AFFINE; /* the identity */
    options.activation_alpha[0][0] = 1;
    rnn_network *network = build(1, &options);
    set(network, "r.weight_ih_l0", 1);
    set(network, "r.weight_hh_l0", a);
    const double x[T] = {1, 0, 0, 0, 0}, y_gradient[T] = {0, 0, 0, 0, 1};
    double y[T], hidden[T], cell[T], clipped[T], jacobian[T], x_gradient[T], gradients[2];
    rnn_tape *tape = NULL;
    MUST(rnn_network_forward_train_f64(network, T, 1, x, T, NULL, 0, NULL, 0, NULL, y, T, NULL, &tape));
    rnn_backward_options flow = RNN_BACKWARD_OPTIONS_INIT;
    flow.hidden_flow = hidden;
    flow.cell_flow = cell;
    flow.clipped_flow = clipped;
    flow.jacobian_norm = jacobian;
    flow.hidden_flow_count = flow.cell_flow_count = flow.clipped_flow_count = flow.jacobian_norm_count = T;
    MUST(rnn_network_backward_f64(network, tape, y_gradient, T, NULL, x_gradient, T, NULL, gradients, 2, &flow));
    for (size_t t = 0; t < T; t++) { /* powers of two: exact */
      const double power = pow(a, (double)(T - 1 - t));
      CHECK(y[t] == pow(a, (double)t));
      CHECK(hidden[t] == fabs(power) && clipped[t] == hidden[t] && x_gradient[t] == power);
      CHECK(cell[t] == 0);
      CHECK(fabs(jacobian[t] - fabs(a)) < 1e-12);
    }
    CHECK(gradients[0] == pow(a, T - 1)); /* dL/dW_x = sum of dL/dh_t x_t */

    SECTION("  hidden_clip limits it at each step, and so what comes before");
    flow.hidden_clip = 0.25;
    MUST(rnn_network_backward_f64(network, tape, y_gradient, T, NULL, x_gradient, T, NULL, NULL, 0, &flow));
    double reached = 1;
    for (size_t t = T; t-- > 0;) {
      CHECK(fabs(hidden[t] - reached) < 1e-15); /* 1e-15: a division by the norm */
      reached = fmin(reached, 0.25);
      CHECK(fabs(clipped[t] - reached) < 1e-15);
      CHECK(fabs(fabs(x_gradient[t]) - reached) < 1e-15);
      reached *= fabs(a);
    }

    SECTION("  a gradient that is wanted nowhere costs nothing and changes nothing");
    double again[T];
    flow = (rnn_backward_options)RNN_BACKWARD_OPTIONS_INIT;
    flow.hidden_clip = 0.25;
    MUST(rnn_network_backward_f64(network, tape, y_gradient, T, NULL, again, T, NULL, NULL, 0, &flow));
    CHECK(SAME_BITS(again, x_gradient));
    rnn_tape_destroy(tape);
    rnn_network_destroy(network);
  }
}

/** Each row has a limit of its own; the flow is the norm over all rows. */
static void clip_by_rows(void) {
  SECTION("hidden_clip is a limit for each row");
  rnn_recurrent_options options = RNN_RECURRENT_OPTIONS_INIT;
  options.hidden_size = 2;
  options.bias = RNN_BIAS_NONE;
  options.activations[0][0] = RNN_ACTIVATION_AFFINE;
  options.activation_alpha[0][0] = 1;
  rnn_network *network = build(2, &options);
  const double identity[4] = {1, 0, 0, 1}, x[4] = {0}, y_gradient[4] = {3, 4, 0.3, 0.4}; /* rows of norm 5 and 0.5 */
  double y[4], x_gradient[4], hidden, clipped;
  MUST(rnn_network_parameter_set_f64(network, "r.weight_ih_l0", identity, 4));
  MUST(rnn_network_parameter_set_f64(network, "r.weight_hh_l0", identity, 4));
  rnn_tape *tape = NULL;
  MUST(rnn_network_forward_train_f64(network, 1, 2, x, 4, NULL, 0, NULL, 0, NULL, y, 4, NULL, &tape));
  rnn_backward_options flow = RNN_BACKWARD_OPTIONS_INIT;
  flow.hidden_clip = 1;
  flow.hidden_flow = &hidden;
  flow.clipped_flow = &clipped;
  flow.hidden_flow_count = flow.clipped_flow_count = 1;
  MUST(rnn_network_backward_f64(network, tape, y_gradient, 4, NULL, x_gradient, 4, NULL, NULL, 0, &flow));
  CHECK(fabs(hidden - sqrt(25.25)) < 1e-14 && fabs(clipped - sqrt(1.25)) < 1e-14);
  CHECK(fabs(x_gradient[0] - 0.6) < 1e-15 && fabs(x_gradient[1] - 0.8) < 1e-15);
  CHECK(x_gradient[2] == 0.3 && x_gradient[3] == 0.4);
  rnn_tape_destroy(tape);
  rnn_network_destroy(network);
}

/** An LSTM whose gates stand open: c_t = c_(t-1) + …, so that the gradient of c is carried through unchanged. */
static void carousel(void) {
  SECTION("an LSTM with open forget gates carries the gradient of c back unchanged");
  rnn_recurrent_options options = RNN_RECURRENT_OPTIONS_INIT;
  options.cell = RNN_CELL_LSTM;
  options.hidden_size = 1;
  options.forget_bias = 1000; /* f = 1 */
  rnn_network *network = build(1, &options);
  double zeros[4] = {0};
  MUST(rnn_network_parameter_set_f64(network, "r.weight_hh_l0", zeros, 4));
  const double x[T] = {0.5, -0.25, 0.75, 0.1, -0.6}, y_gradient[T] = {0, 0, 0, 0, 1};
  double y[T], cell[T], mean[T * RNN_FLOW_GATES];
  rnn_tape *tape = NULL;
  MUST(rnn_network_forward_train_f64(network, T, 1, x, T, NULL, 0, NULL, 0, NULL, y, T, NULL, &tape));
  rnn_backward_options flow = RNN_BACKWARD_OPTIONS_INIT;
  flow.cell_flow = cell;
  flow.cell_flow_count = T;
  flow.gate_mean = mean;
  flow.gate_mean_count = COUNT(mean);
  MUST(rnn_network_backward_f64(network, tape, y_gradient, T, NULL, NULL, 0, NULL, NULL, 0, &flow));
  for (size_t t = 0; t < T; t++) CHECK(cell[t] > 0 && cell[t] == cell[T - 1] && mean[t * RNN_FLOW_GATES + 1] == 1);
  rnn_tape_destroy(tape);
  rnn_network_destroy(network);
}

int main(void) {
  fill_f64(input, COUNT(input), 9);
  names();
  equations();
  decay();
  clip_by_rows();
  carousel();
  return finish();
}
