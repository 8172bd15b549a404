/* Every option of recurrent layers: its gradients against central differences in double precision, and its outputs, which are
 * the same bits in training and not, whole and in steps. */
#include "check.h"

enum { T = 4, N = 2, I = 3, H = 3, O = 2, MOST = 1000 };

static const int64_t lengths[N] = {T, 3};
static double input[T * N * I], weighting[T * N * O], parameters[MOST], initial[200];
static size_t parameter_count, state_count;

/** A name and the options that differ from the default ones. */
typedef struct {
  const char *name;
  rnn_recurrent_options options;
  int reverse_after; /* a node that reverses follows the layer */
} variant;

enum { MOST_VARIANTS = 80 };
static variant variants[MOST_VARIANTS];
static size_t variant_count;

static rnn_recurrent_options *add(const char *name, int32_t cell) {
  if (variant_count == MOST_VARIANTS) abort();
  variant *next = &variants[variant_count++];
  const rnn_recurrent_options defaults = RNN_RECURRENT_OPTIONS_INIT;
  next->name = name;
  next->options = defaults;
  next->options.hidden_size = H;
  next->options.cell = cell;
  return &next->options;
}

static void set_activation(rnn_recurrent_options *options, int direction, int slot, int32_t kind, double alpha, double beta) {
  options->activations[direction][slot] = kind;
  options->activation_alpha[direction][slot] = alpha;
  options->activation_beta[direction][slot] = beta;
}

static void list_variants(void) {
  rnn_recurrent_options *o;
  add("vanilla", RNN_CELL_VANILLA);
  add("vanilla, ReLU", RNN_CELL_VANILLA)->nonlinearity = RNN_NONLINEARITY_RELU;
  add("GRU, reset before", RNN_CELL_GRU);
  add("GRU, reset after", RNN_CELL_GRU)->gru_variant = RNN_GRU_RESET_AFTER;
  add("LSTM", RNN_CELL_LSTM);

  static const char *const bias_names[] = {"no bias", "one bias", "two biases"};
  for (int32_t bias = RNN_BIAS_NONE; bias <= RNN_BIAS_DOUBLE; bias++) {
    o = add(bias_names[bias - 1], RNN_CELL_GRU);
    o->gru_variant = RNN_GRU_RESET_AFTER;
    o->bias = bias;
    add(bias_names[bias - 1], RNN_CELL_LSTM)->bias = bias;
  }

  for (int32_t cell = RNN_CELL_VANILLA; cell <= RNN_CELL_LSTM; cell++) {
    static const char *const merges[] = {"two directions side by side", "their sum", "their mean", "their product"};
    o = add("reverse", cell);
    o->reverse = 1;
    o->num_layers = 2;
    o = add("reverse, and turned back", cell);
    o->reverse = 1;
    variants[variant_count - 1].reverse_after = 1;
    for (int32_t merge = RNN_MERGE_CONCAT; merge <= RNN_MERGE_PRODUCT; merge++) {
      o = add(merges[merge], cell);
      o->bidirectional = 1;
      o->num_layers = 2;
      o->merge = merge;
    }
    o = add("directions of two sizes", cell);
    o->bidirectional = 1;
    o->num_layers = 2;
    o->hidden_size_reverse = 2;
    o = add("residual", cell);
    o->residual = 1;
    o->num_layers = 3;
    o = add("residual, two directions summed", cell);
    o->residual = 1;
    o->num_layers = 2;
    o->bidirectional = 1;
    o->merge = RNN_MERGE_SUM;
    o = add("learned initial state", cell);
    o->learned_initial_state = 1;
    o->num_layers = 2;
    o->bidirectional = 1;
    o = add("dropout and recurrent dropout", cell);
    o->dropout = 0.25;
    o->recurrent_dropout = 0.5;
    o->num_layers = 2;
    add("gate_clip", cell)->gate_clip = 0.3;
  }

  o = add("projection", RNN_CELL_LSTM);
  o->proj_size = 2;
  o->num_layers = 2;
  o = add("projection, two directions", RNN_CELL_LSTM);
  o->proj_size = 2;
  o->num_layers = 2;
  o->bidirectional = 1;
  add("peepholes", RNN_CELL_LSTM)->peepholes = 1;
  add("coupled gates", RNN_CELL_LSTM)->coupled_gates = 1;
  o = add("coupled gates with peepholes", RNN_CELL_LSTM);
  o->coupled_gates = 1;
  o->peepholes = 1;
  add("cell_clip", RNN_CELL_LSTM)->cell_clip = 0.1;
  o = add("gate_clip_output", RNN_CELL_LSTM);
  o->gate_clip = 0.15;
  o->gate_clip_output = 1;
  add("forget_bias", RNN_CELL_LSTM)->forget_bias = 1.5;

  /* Every function, somewhere. */
  o = add("activations", RNN_CELL_LSTM);
  set_activation(o, 0, 0, RNN_ACTIVATION_HARD_SIGMOID, 0.2, 0.5);
  set_activation(o, 0, 1, RNN_ACTIVATION_SOFTSIGN, 0, 0);
  set_activation(o, 0, 2, RNN_ACTIVATION_ELU, 1.25, 0);
  set_activation(o, 0, 3, RNN_ACTIVATION_AFFINE, 0.5, 0.25);
  set_activation(o, 0, 4, RNN_ACTIVATION_SCALED_TANH, 1.5, 0.75);
  o = add("activations of both directions", RNN_CELL_GRU);
  o->bidirectional = 1;
  set_activation(o, 0, 0, RNN_ACTIVATION_TANH, 0, 0);
  set_activation(o, 0, 1, RNN_ACTIVATION_SIGMOID, 0, 0);
  set_activation(o, 0, 2, RNN_ACTIVATION_LEAKY_RELU, 0.125, 0);
  set_activation(o, 1, 0, RNN_ACTIVATION_SOFTPLUS, 0, 0);
  set_activation(o, 1, 1, RNN_ACTIVATION_HARD_SIGMOID, 0.25, 0.5);
  set_activation(o, 1, 2, RNN_ACTIVATION_RELU, 0, 0);
  o = add("activations after the reset", RNN_CELL_GRU);
  o->gru_variant = RNN_GRU_RESET_AFTER;
  set_activation(o, 0, 2, RNN_ACTIVATION_SOFTSIGN, 0, 0);
  set_activation(add("thresholded ReLU", RNN_CELL_VANILLA), 0, 0, RNN_ACTIVATION_THRESHOLDED_RELU, 0.125, 0);
  set_activation(add("identity", RNN_CELL_VANILLA), 0, 0, RNN_ACTIVATION_AFFINE, 1, 0);

  o = add("everything at once", RNN_CELL_LSTM);
  o->num_layers = 2;
  o->bidirectional = 1;
  o->proj_size = 2;
  o->residual = 1;
  o->learned_initial_state = 1;
  o->peepholes = 1;
  o->coupled_gates = 1;
  o->cell_clip = 0.5;
  o->gate_clip = 1;
  o->gate_clip_output = 1;
  o->forget_bias = 0.5;
  o->dropout = 0.25;
  o->recurrent_dropout = 0.25;
  set_activation(o, 0, 2, RNN_ACTIVATION_SOFTSIGN, 0, 0);
  set_activation(o, 1, 3, RNN_ACTIVATION_SOFTPLUS, 0, 0);
}

static rnn_network *build(const variant *variant) {
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  rnn_builder_options options = RNN_BUILDER_OPTIONS_INIT;
  options.dtype = RNN_DTYPE_FLOAT64;
  MUST(rnn_builder_create(&options, &builder));
  MUST(rnn_builder_add_input(builder, "x", I));
  MUST(rnn_builder_add_recurrent(builder, "r", NULL, &variant->options));
  if (variant->reverse_after) MUST(rnn_builder_add_reverse(builder, "turned", NULL));
  MUST(rnn_builder_add_linear(builder, "y", NULL, O, 1));
  MUST(rnn_builder_build(builder, NULL, &network));
  rnn_builder_destroy(builder);
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  MUST(rnn_network_describe(network, &info));
  parameter_count = info.parameter_elements;
  state_count = N * info.state_elements;
  if (parameter_count > COUNT(parameters) || state_count > COUNT(initial)) abort();
  /* Larger numbers than initial weights are: limits are reached, and no parameter stays at 0. */
  fill_f64(parameters, parameter_count, 11);
  fill_f64(initial, state_count, 12);
  MUST(rnn_network_parameter_set_f64(network, NULL, parameters, parameter_count));
  return network;
}

static rnn_state *make_state(rnn_network *network, const double *values) {
  rnn_state *state = NULL;
  rnn_state_options options = RNN_STATE_OPTIONS_INIT;
  options.batch_size = N;
  MUST(rnn_state_create(network, &options, &state));
  if (values != NULL) MUST(rnn_state_write_f64(state, NULL, values, state_count));
  return state;
}

static void forward(rnn_network *network, rnn_state *state, double *output, rnn_tape **tape) {
  rnn_train_options options = RNN_TRAIN_OPTIONS_INIT;
  options.dropout_seed = 3; /* the same masks each time */
  MUST(rnn_network_forward_train_f64(network, T, N, input, COUNT(input), NULL, 0, lengths, N, state, output, T * N * O,
                                     &options, tape));
}

/** Σ weighting · output + Σ final state, from the initial state: given, or the network's own. */
static double loss(rnn_network *network, int has_state) {
  double output[T * N * O], final[COUNT(initial)], sum = 0;
  rnn_tape *tape = NULL;
  rnn_state *state = make_state(network, has_state ? initial : NULL);
  forward(network, state, output, &tape);
  MUST(rnn_state_read_f64(state, NULL, final, state_count));
  for (size_t i = 0; i < COUNT(output); i++) sum += weighting[i] * output[i];
  for (size_t i = 0; i < state_count; i++) sum += final[i];
  rnn_tape_destroy(tape);
  rnn_state_destroy(state);
  return sum;
}

/** Largest |gradient - central difference|, relative where the gradient is above 1. */
static double worst_difference(rnn_network *network, double *argument, const double *gradient, size_t count, int is_parameter,
                               int has_state) {
  double worst = 0;
  for (size_t i = 0; i < count; i++) {
    const double step = 1e-5, value = argument[i];
    double sides[2];
    for (int side = 0; side < 2; side++) {
      argument[i] = side ? value + step : value - step;
      if (is_parameter) MUST(rnn_network_parameter_set_f64(network, NULL, parameters, parameter_count));
      sides[side] = loss(network, has_state);
    }
    argument[i] = value;
    worst = fmax(worst, fabs((sides[1] - sides[0]) / (2 * step) - gradient[i]) / fmax(1, fabs(gradient[i])));
  }
  if (is_parameter) MUST(rnn_network_parameter_set_f64(network, NULL, parameters, parameter_count));
  return worst;
}

/* The difference's own error: step² / 6 times a third derivative, some 1e-9, and a rounding error of some 1e-10. */
#define TOLERANCE 1e-7

static void gradients(rnn_network *network, const variant *variant, int has_state) {
  double output[T * N * O], input_gradient[T * N * I], ones[COUNT(initial)], state_gradient[COUNT(initial)];
  static double gradient[MOST];
  rnn_tape *tape = NULL;
  rnn_state *state = make_state(network, has_state ? initial : NULL);
  forward(network, state, output, &tape);
  for (size_t i = 0; i < state_count; i++) ones[i] = 1;
  MUST(rnn_state_write_f64(state, NULL, ones, state_count));
  MUST(rnn_network_backward_f64(network, tape, weighting, COUNT(weighting), state, input_gradient, COUNT(input_gradient),
                                state, gradient, parameter_count, NULL));
  MUST(rnn_state_read_f64(state, NULL, state_gradient, state_count));
  const double of_parameters = worst_difference(network, parameters, gradient, parameter_count, 1, has_state);
  const double of_input = worst_difference(network, input, input_gradient, COUNT(input), 0, has_state);
  const double of_state = has_state ? worst_difference(network, initial, state_gradient, state_count, 0, 1) : 0;
  if (!(of_parameters < TOLERANCE && of_input < TOLERANCE && of_state < TOLERANCE))
    printf("  %s, %s: parameters %.1e, input %.1e, state %.1e\n", variant->name, has_state ? "a state" : "no state",
           of_parameters, of_input, of_state);
  CHECK(of_parameters < TOLERANCE);
  CHECK(of_input < TOLERANCE);
  CHECK(of_state < TOLERANCE);
  for (size_t i = 0; i < I; i++) CHECK(input_gradient[((T - 1) * N + 1) * I + i] == 0); /* padding */

  /* What is not used, or not begun with, has a gradient of exactly 0. */
  rnn_tensor_info info = RNN_TENSOR_INFO_INIT;
  for (size_t index = 0; rnn_network_parameter_info(network, index, &info) == RNN_OK; index++) {
    double sum = 0;
    for (size_t i = 0; i < info.element_count; i++) sum += fabs(gradient[info.offset + i]);
    if (has_state && (strncmp(info.name, "r.h_0", 5) == 0 || strncmp(info.name, "r.c_0", 5) == 0)) CHECK(sum == 0);
    else CHECK(sum > 0);
    if (variant->options.coupled_gates && strncmp(info.name, "r.weight_hh", 11) == 0) {
      const size_t columns = info.shape[1];
      for (size_t i = H * columns; i < 2 * H * columns; i++) CHECK(gradient[info.offset + i] == 0);
    }
  }
  rnn_state_destroy(state);
  rnn_tape_destroy(tape);
}

/** Without dropout: training and not, whole and step by step. */
static void same_bits(rnn_network *network) {
  double trained[T * N * O], run[T * N * O];
  rnn_tape *tape = NULL;
  MUST(rnn_network_forward_train_f64(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, NULL, trained, COUNT(trained), NULL,
                                     &tape));
  MUST(rnn_network_run_f64(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, NULL, run, COUNT(run), NULL));
  CHECK(SAME_BITS(run, trained));
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  MUST(rnn_network_describe(network, &info));
  rnn_stream *stream = NULL;
  rnn_stream_options options = RNN_STREAM_OPTIONS_INIT;
  options.batch_size = N;
  if (info.streamable) {
    double streamed[T * N * O];
    MUST(rnn_stream_create(network, &options, &stream));
    for (size_t t = 0; t < T; t++)
      MUST(rnn_stream_process_f64(stream, 1, input + t * N * I, N * I, NULL, 0, streamed + t * N * O, N * O));
    CHECK(SAME_BITS(streamed, run));
  } else {
    EXPECT(RNN_ERROR_UNSUPPORTED, rnn_stream_create(network, &options, &stream));
  }
  rnn_stream_destroy(stream);
  rnn_tape_destroy(tape);
}

static void absolute_time(void) {
  SECTION("dropout at the end of time");
  variant last = {"dropout", RNN_RECURRENT_OPTIONS_INIT, 0};
  last.options.hidden_size = H;
  last.options.num_layers = 2;
  last.options.dropout = last.options.recurrent_dropout = 0.5;
  rnn_network *network = build(&last);
  rnn_train_options options = RNN_TRAIN_OPTIONS_INIT;
  options.first_time = UINT64_MAX - 1; /* the steps wrap around */
  options.step = UINT64_MAX;
  double output[T * N * O];
  rnn_tape *tape = NULL;
  MUST(rnn_network_forward_train_f64(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, NULL, output, COUNT(output),
                                     &options, &tape));
  rnn_tape_destroy(tape);
  rnn_network_destroy(network);
}

int main(void) {
  fill_f64(input, COUNT(input), 1);
  fill_f64(weighting, COUNT(weighting), 2);
  list_variants();
  for (size_t i = 0; i < variant_count; i++) {
    static const char *const cells[] = {"vanilla", "GRU", "LSTM"};
    const variant *variant = &variants[i];
    rnn_network *network = build(variant);
    printf("%s: %s, %zu parameters\n", cells[variant->options.cell], variant->name, parameter_count);
    gradients(network, variant, 1);
    if (variant->options.learned_initial_state) gradients(network, variant, 0);
    if (variant->options.dropout == 0) same_bits(network);
    rnn_network_destroy(network);
  }
  absolute_time();
  return finish();
}
