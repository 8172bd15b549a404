/* Backpropagation through time in double precision: every gradient against central differences, then a few steps of gradient
 * descent that lower a loss. */
#include "check.h"

enum { T = 6, N = 2, I = 3, H = 4, O = 2, MOST_PARAMETERS = 2000 };

static const int64_t lengths[N] = {T, 4};
static double input[T * N * I], weighting[T * N * O], parameters[MOST_PARAMETERS], initial[64];
static size_t parameter_count, state_count;

/** Two bidirectional LSTM layers and a linear layer. */
static rnn_network *build(void) {
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  rnn_builder_options options = RNN_BUILDER_OPTIONS_INIT;
  options.dtype = RNN_DTYPE_FLOAT64;
  MUST(rnn_builder_create(&options, &builder));
  MUST(rnn_builder_add_input(builder, "x", I));
  rnn_recurrent_options lstm = RNN_RECURRENT_OPTIONS_INIT;
  lstm.cell = RNN_CELL_LSTM;
  lstm.hidden_size = H;
  lstm.num_layers = 2;
  lstm.bidirectional = 1;
  MUST(rnn_builder_add_recurrent(builder, "lstm", NULL, &lstm));
  MUST(rnn_builder_add_linear(builder, "y", NULL, O, 1));
  MUST(rnn_builder_build(builder, NULL, &network));
  rnn_builder_destroy(builder);
  return network;
}

static rnn_state *make_state(rnn_network *network, const double *values) {
  rnn_state_options options = RNN_STATE_OPTIONS_INIT;
  options.batch_size = N;
  rnn_state *state = NULL;
  MUST(rnn_state_create(network, &options, &state));
  MUST(rnn_state_write_f64(state, NULL, values, state_count));
  return state;
}

/** L = Σ output ⊙ weighting + Σ final state: its gradients are `weighting` and ones. */
static double loss(rnn_network *network) {
  double output[T * N * O], final[64], sum = 0;
  rnn_state *state = make_state(network, initial);
  MUST(rnn_network_run_f64(network, T, N, input, COUNT(input), NULL, 0, lengths, N, state, output, COUNT(output), NULL));
  MUST(rnn_state_read_f64(state, NULL, final, state_count));
  for (size_t i = 0; i < COUNT(output); i++) sum += output[i] * weighting[i];
  for (size_t i = 0; i < state_count; i++) sum += final[i];
  rnn_state_destroy(state);
  return sum;
}

/** Largest |gradient - central difference|; the difference's own error is about 1e-9 for steps of 1e-5. */
static double worst_difference(rnn_network *network, double *argument, const double *gradient, size_t count, int is_parameter) {
  double worst = 0;
  for (size_t i = 0; i < count; i++) {
    const double step = 1e-5, value = argument[i];
    argument[i] = value + step;
    if (is_parameter) MUST(rnn_network_parameter_set_f64(network, NULL, parameters, parameter_count));
    const double above = loss(network);
    argument[i] = value - step;
    if (is_parameter) MUST(rnn_network_parameter_set_f64(network, NULL, parameters, parameter_count));
    const double below = loss(network);
    argument[i] = value;
    worst = fmax(worst, fabs((above - below) / (2 * step) - gradient[i]));
  }
  if (is_parameter) MUST(rnn_network_parameter_set_f64(network, NULL, parameters, parameter_count));
  return worst;
}

static void gradients(rnn_network *network) {
  SECTION("gradients against central differences");
  double output[T * N * O], same[T * N * O], ones[64], input_gradient[T * N * I], state_gradient[64], flow[4 * T];
  static double parameter_gradient[MOST_PARAMETERS];

  rnn_state *state = make_state(network, initial);
  MUST(rnn_network_run_f64(network, T, N, input, COUNT(input), NULL, 0, lengths, N, state, same, COUNT(same), NULL));
  MUST(rnn_state_write_f64(state, NULL, initial, state_count));
  rnn_tape *tape = NULL;
  MUST(rnn_network_forward_train_f64(network, T, N, input, COUNT(input), NULL, 0, lengths, N, state, output, COUNT(output),
                                     NULL, &tape));
  CHECK(SAME_BITS(output, same));

  for (size_t i = 0; i < COUNT(ones); i++) ones[i] = 1;
  rnn_state *gradient = make_state(network, ones);
  rnn_backward_options options = RNN_BACKWARD_OPTIONS_INIT;
  options.hidden_flow = flow;
  options.hidden_flow_count = COUNT(flow);
  /* One handle both ways: final_state_gradient in, initial_state_gradient out. */
  MUST(rnn_network_backward_f64(network, tape, weighting, COUNT(weighting), gradient, input_gradient, COUNT(input_gradient),
                                gradient, parameter_gradient, parameter_count, &options));
  MUST(rnn_state_read_f64(gradient, NULL, state_gradient, state_count));

  CHECK(worst_difference(network, parameters, parameter_gradient, parameter_count, 1) < 1e-7);
  CHECK(worst_difference(network, input, input_gradient, COUNT(input), 0) < 1e-7);
  CHECK(worst_difference(network, initial, state_gradient, state_count, 0) < 1e-7);

  SECTION("padding gets a gradient of exactly 0");
  for (size_t t = 4; t < T; t++)
    for (size_t i = 0; i < I; i++) CHECK(input_gradient[(t * N + 1) * I + i] == 0);

  SECTION("the gradient flow: ||dL/dH_t|| for each layer, direction and step");
  for (size_t row = 0; row < 4; row++) {
    printf("  layer %zu, %s:", row / 2, row % 2 ? "backward" : "forward ");
    for (size_t t = 0; t < T; t++) {
      printf(" %.3f", flow[row * T + t]);
      CHECK(flow[row * T + t] > 0 && flow[row * T + t] < 100);
    }
    printf("\n");
  }

  SECTION("a tape serves any number of times, and outlives its network's new weights");
  static double again[MOST_PARAMETERS], zeros[MOST_PARAMETERS];
  MUST(rnn_network_parameter_set_f64(network, NULL, zeros, parameter_count));
  MUST(rnn_state_write_f64(gradient, NULL, ones, state_count));
  MUST(rnn_network_backward_f64(network, tape, weighting, COUNT(weighting), gradient, NULL, 0, NULL, again, parameter_count,
                                NULL));
  CHECK(SAME_BITS(again, parameter_gradient));
  MUST(rnn_network_parameter_set_f64(network, NULL, parameters, parameter_count));

  rnn_tape_destroy(tape);
  rnn_state_destroy(state);
  rnn_state_destroy(gradient);
}

/** Teaches the network to repeat its first two features, by plain gradient descent on the squared error. */
static void learn(rnn_network *network) {
  SECTION("learning");
  static double gradient[MOST_PARAMETERS];
  double output[T * N * O], difference[T * N * O], first = 0, last = 0;
  for (int iteration = 0; iteration < 300; iteration++) {
    rnn_tape *tape = NULL;
    MUST(rnn_network_forward_train_f64(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, NULL, output, COUNT(output),
                                       NULL, &tape));
    last = 0;
    for (size_t row = 0; row < T * N; row++)
      for (size_t j = 0; j < O; j++) {
        const double error = output[row * O + j] - input[row * I + j];
        difference[row * O + j] = error;
        last += error * error / 2;
      }
    if (iteration == 0) first = last;
    MUST(rnn_network_backward_f64(network, tape, difference, COUNT(difference), NULL, NULL, 0, NULL, gradient,
                                  parameter_count, NULL));
    for (size_t i = 0; i < parameter_count; i++) parameters[i] -= 0.05 * gradient[i];
    MUST(rnn_network_parameter_set_f64(network, NULL, parameters, parameter_count));
    rnn_tape_destroy(tape);
  }
  printf("  loss %.4f, after 300 steps %.4f\n", first, last);
  CHECK(last < first / 2);
}

int main(void) {
  fill_f64(input, COUNT(input), 1);
  fill_f64(weighting, COUNT(weighting), 2);
  fill_f64(initial, COUNT(initial), 3);
  rnn_network *network = build();
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  MUST(rnn_network_describe(network, &info));
  parameter_count = info.parameter_elements;
  state_count = N * info.state_elements;
  printf("%zu parameters, %zu numbers of state\n", parameter_count, state_count);
  if (parameter_count > MOST_PARAMETERS || state_count > COUNT(initial)) return 1;
  MUST(rnn_network_parameter_get_f64(network, NULL, parameters, parameter_count));
  gradients(network);
  learn(network);
  rnn_network_destroy(network);
  return finish();
}
