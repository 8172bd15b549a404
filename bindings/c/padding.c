/* Rows of different lengths, left padding and holes: lengths, masks, what outputs are where a row has no step, and gradients. */
#include "check.h"

enum { T = 6, N = 4, I = 3, H = 4, O = 2, MOST = 1000 };

/* [T, N]: the first row has all steps, the second is padded on the left, the third has holes, the last has none. */
static const uint8_t mask[T * N] = {
    1, 0, 1, 0, /* t = 0 */
    7, 0, 0, 0,  1, 1, 1, 0,  1, 255, 0, 0,  1, 1, 0, 0,  1, 1, 1, 0};
static double input[T * N * I], weighting[T * N * O];

typedef struct {
  int bidirectional, reverse_last, single_step;
} shape;

static rnn_network *build(int32_t cell, shape shape) {
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  rnn_builder_options options = RNN_BUILDER_OPTIONS_INIT;
  options.dtype = RNN_DTYPE_FLOAT64;
  rnn_recurrent_options recurrent = RNN_RECURRENT_OPTIONS_INIT;
  recurrent.cell = cell;
  recurrent.hidden_size = H;
  recurrent.num_layers = 2;
  recurrent.bidirectional = shape.bidirectional;
  MUST(rnn_builder_create(&options, &builder));
  MUST(rnn_builder_add_input(builder, "x", I));
  MUST(rnn_builder_add_recurrent(builder, "r", NULL, &recurrent));
  if (shape.single_step) MUST(rnn_builder_add_last_step(builder, "last", NULL));
  MUST(rnn_builder_add_linear(builder, "y", NULL, O, 1));
  if (shape.reverse_last) MUST(rnn_builder_add_reverse(builder, "turned", NULL));
  MUST(rnn_builder_build(builder, NULL, &network));
  rnn_builder_destroy(builder);
  return network;
}

/** Row n without the steps that it does not have; how many remain. */
static size_t squeeze(size_t n, double *row) {
  size_t count = 0;
  for (size_t t = 0; t < T; t++)
    if (mask[t * N + n]) memcpy(row + I * count++, input + (t * N + n) * I, I * sizeof(double));
  return count;
}

static rnn_run_options masked(void) {
  rnn_run_options options = RNN_RUN_OPTIONS_INIT;
  options.mask = mask;
  options.mask_count = COUNT(mask);
  return options;
}

static void outputs(rnn_network *network, int is_single) {
  double y[T * N * O], alone[T * O], row[T * I];
  rnn_run_options options = masked();
  const size_t count = is_single ? N * O : T * N * O;

  SECTION("  a row with holes has the bits of the row without them");
  rnn_state *state = NULL, *single = NULL;
  rnn_state_options rows = RNN_STATE_OPTIONS_INIT;
  rows.batch_size = N;
  MUST(rnn_state_create(network, &rows, &state));
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  MUST(rnn_network_describe(network, &info));
  static double final[MOST], expected[MOST];
  MUST(rnn_network_run_f64(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, state, y, count, &options));
  MUST(rnn_state_read_f64(state, NULL, final, N * info.state_elements));
  for (size_t n = 0; n < N; n++) {
    const size_t steps = squeeze(n, row);
    MUST(rnn_state_create(network, NULL, &single));
    memset(alone, 0, sizeof alone);
    MUST(rnn_network_run_f64(network, steps, 1, row, steps * I, NULL, 0, NULL, 0, single, alone, is_single ? O : steps * O,
                             NULL));
    size_t next = 0;
    static const double zeros[O] = {0};
    if (is_single)
      CHECK(memcmp(y + n * O, alone, O * sizeof(double)) == 0);
    else
      for (size_t t = 0; t < T; t++) {
        const double *wanted = mask[t * N + n] ? alone + O * next++ : zeros;
        CHECK(memcmp(y + (t * N + n) * O, wanted, O * sizeof(double)) == 0);
      }
    /* The state stays where a step is left out: the final one is that of the last step. States are [L*D, N, H]. */
    MUST(rnn_state_read_f64(single, NULL, expected, info.state_elements));
    for (size_t layer = 0; layer < info.state_elements / H; layer++)
      CHECK(memcmp(final + (layer * N + n) * H, expected + layer * H, H * sizeof(double)) == 0);
    rnn_state_destroy(single);
  }

  SECTION("  what stands where a row has no step is not read");
  static double dirty[T * N * I], again[T * N * O];
  memcpy(dirty, input, sizeof dirty);
  for (size_t i = 0; i < T * N; i++)
    for (size_t j = 0; j < I; j++)
      if (!mask[i]) dirty[i * I + j] = NAN;
  MUST(rnn_network_run_f64(network, T, N, dirty, COUNT(dirty), NULL, 0, NULL, 0, NULL, again, count, &options));
  CHECK(memcmp(again, y, count * sizeof(double)) == 0);

  if (!is_single) {
    SECTION("  padding_value, and repetition of the step before");
    options.padding_value = -7;
    MUST(rnn_network_run_f64(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, NULL, again, count, &options));
    for (size_t i = 0; i < T * N; i++)
      for (size_t j = 0; j < O; j++) CHECK(again[i * O + j] == (mask[i] ? y[i * O + j] : -7));
    options.padding_value = 0;
    options.padding = RNN_PADDING_REPEAT;
    MUST(rnn_network_run_f64(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, NULL, again, count, &options));
    for (size_t i = 0; i < T * N; i++)
      for (size_t j = 0; j < O; j++) {
        const double before = i < N ? 0 : again[(i - N) * O + j];
        CHECK(again[i * O + j] == (mask[i] ? y[i * O + j] : before));
      }
    options.padding_value = 1;
    EXPECT(RNN_ERROR_INVALID_ARGUMENT, rnn_network_run_f64(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, NULL, again,
                                                           count, &options));
  }

  SECTION("  batch-first arrays give the same bits");
  static double turned[N * T * I], turned_output[N * T * O];
  uint8_t turned_mask[N * T];
  for (size_t t = 0; t < T; t++)
    for (size_t n = 0; n < N; n++) {
      memcpy(turned + (n * T + t) * I, input + (t * N + n) * I, I * sizeof(double));
      turned_mask[n * T + t] = mask[t * N + n];
    }
  options = masked();
  options.mask = turned_mask;
  options.batch_first = 1;
  MUST(rnn_network_run_f64(network, T, N, turned, COUNT(turned), NULL, 0, NULL, 0, NULL, turned_output, count, &options));
  for (size_t n = 0; n < N; n++)
    for (size_t t = 0; t < (is_single ? 1 : T); t++)
      CHECK(memcmp(turned_output + (is_single ? n : n * T + t) * O, y + (t * N + n) * O, O * sizeof(double)) == 0);

  SECTION("  a mask that says what lengths say gives the same bits; with lengths, both count");
  const int64_t lengths[N] = {6, 3, 1, 0};
  uint8_t as_lengths[T * N], joined[T * N];
  for (size_t i = 0; i < T * N; i++) {
    as_lengths[i] = (int64_t)(i / N) < lengths[i % N];
    joined[i] = as_lengths[i] && mask[i];
  }
  options = masked();
  options.mask = as_lengths;
  MUST(rnn_network_run_f64(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, NULL, y, count, &options));
  MUST(rnn_network_run_f64(network, T, N, input, COUNT(input), NULL, 0, lengths, N, NULL, again, count, NULL));
  CHECK(memcmp(again, y, count * sizeof(double)) == 0);
  options.mask = joined;
  MUST(rnn_network_run_f64(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, NULL, y, count, &options));
  options.mask = mask;
  MUST(rnn_network_run_f64(network, T, N, input, COUNT(input), NULL, 0, lengths, N, NULL, again, count, &options));
  CHECK(memcmp(again, y, count * sizeof(double)) == 0);

  SECTION("  the final state of a row without a step");
  static double begin[MOST];
  fill_f64(begin, N * info.state_elements, 3);
  for (int zero = 0; zero < 2; zero++) {
    options.zero_state_of_empty_rows = zero;
    MUST(rnn_state_write_f64(state, NULL, begin, N * info.state_elements));
    MUST(rnn_network_run_f64(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, state, y, count, &options));
    MUST(rnn_state_read_f64(state, NULL, final, N * info.state_elements));
    for (size_t layer = 0; layer < info.state_elements / H; layer++)
      for (size_t j = 0; j < H; j++) {
        const size_t i = (layer * N + N - 1) * H + j;
        CHECK(final[i] == (zero ? 0 : begin[i]));
      }
  }
  rnn_state_destroy(state);
}

static double loss(rnn_network *network, const rnn_run_options *options, size_t count) {
  double y[T * N * O], sum = 0;
  MUST(rnn_network_run_f64(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, NULL, y, count, options));
  for (size_t i = 0; i < count; i++) sum += weighting[i] * y[i];
  return sum;
}

static void gradients(rnn_network *network, int is_single, int32_t padding) {
  rnn_run_options run = masked();
  run.padding = padding;
  rnn_train_options options = RNN_TRAIN_OPTIONS_INIT;
  options.mask = mask;
  options.mask_count = COUNT(mask);
  options.padding = padding;
  const size_t count = is_single ? N * O : T * N * O;
  double y[T * N * O], dirty[T * N * O], input_gradient[T * N * I], from_dirty[T * N * I];
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  MUST(rnn_network_describe(network, &info));
  static double gradient[MOST], again[MOST], parameters[MOST];
  rnn_tape *tape = NULL;
  MUST(rnn_network_forward_train_f64(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, NULL, y, count, &options, &tape));
  MUST(rnn_network_backward_f64(network, tape, weighting, count, NULL, input_gradient, COUNT(input_gradient), NULL, gradient,
                                info.parameter_elements, NULL));

  double reference = 0, worst = 0; /* 1e-7 as in recurrent.c */
  for (size_t i = 0; i < COUNT(input); i++) {
    const double value = input[i], step = 1e-5;
    input[i] = value + step;
    const double above = loss(network, &run, count);
    input[i] = value - step;
    const double below = loss(network, &run, count);
    input[i] = value;
    const double difference = (above - below) / (2 * step);
    worst = fmax(worst, fabs(difference - input_gradient[i]));
    if (!mask[i / I]) CHECK(input_gradient[i] == 0 && difference == 0);
    reference += difference * difference;
  }
  CHECK(reference > 0 && worst < 1e-7);
  MUST(rnn_network_parameter_get_f64(network, NULL, parameters, info.parameter_elements));
  for (size_t i = 0; i < info.parameter_elements; i++) {
    const double value = parameters[i], step = 1e-5;
    parameters[i] = value + step;
    MUST(rnn_network_parameter_set_f64(network, NULL, parameters, info.parameter_elements));
    const double above = loss(network, &run, count);
    parameters[i] = value - step;
    MUST(rnn_network_parameter_set_f64(network, NULL, parameters, info.parameter_elements));
    const double below = loss(network, &run, count);
    parameters[i] = value;
    worst = fmax(worst, fabs((above - below) / (2 * step) - gradient[i]));
  }
  MUST(rnn_network_parameter_set_f64(network, NULL, parameters, info.parameter_elements));
  CHECK(worst < 1e-7);

  if (!is_single && padding == RNN_PADDING_VALUE) {
    SECTION("  the gradient of an output that is a fixed value is not read");
    memcpy(dirty, weighting, sizeof dirty);
    for (size_t i = 0; i < T * N; i++)
      for (size_t j = 0; j < O; j++)
        if (!mask[i]) dirty[i * O + j] = NAN;
    MUST(rnn_network_backward_f64(network, tape, dirty, count, NULL, from_dirty, COUNT(from_dirty), NULL, again,
                                  info.parameter_elements, NULL));
    CHECK(SAME_BITS(from_dirty, input_gradient));
    CHECK(memcmp(again, gradient, info.parameter_elements * sizeof(double)) == 0);
  }
  rnn_tape_destroy(tape);
}

static void reversal(void) {
  SECTION("a reversal after a masked layer turns all T steps of a row around");
  rnn_network *plain = build(RNN_CELL_GRU, (shape){0, 0, 0}), *turned = build(RNN_CELL_GRU, (shape){0, 1, 0});
  double y[T * N * O], reversed[T * N * O];
  rnn_run_options options = masked();
  MUST(rnn_network_run_f64(plain, T, N, input, COUNT(input), NULL, 0, NULL, 0, NULL, y, COUNT(y), &options));
  MUST(rnn_network_run_f64(turned, T, N, input, COUNT(input), NULL, 0, NULL, 0, NULL, reversed, COUNT(reversed), &options));
  for (size_t t = 0; t < T; t++)
    for (size_t n = 0; n < N; n++)
      if (mask[t * N + n])
        CHECK(memcmp(reversed + ((T - 1 - t) * N + n) * O, y + (t * N + n) * O, O * sizeof(double)) == 0);
  rnn_network_destroy(plain);
  rnn_network_destroy(turned);

  SECTION("a reversal before the last node cannot have a mask");
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  rnn_builder_options doubles = RNN_BUILDER_OPTIONS_INIT;
  doubles.dtype = RNN_DTYPE_FLOAT64;
  MUST(rnn_builder_create(&doubles, &builder));
  MUST(rnn_builder_add_input(builder, "x", I));
  MUST(rnn_builder_add_reverse(builder, "turned", NULL));
  MUST(rnn_builder_add_linear(builder, "y", NULL, O, 1));
  MUST(rnn_builder_build(builder, NULL, &network));
  for (size_t i = 0; i < COUNT(y); i++) y[i] = 5;
  EXPECT(RNN_ERROR_UNSUPPORTED,
         rnn_network_run_f64(network, T, N, input, COUNT(input), NULL, 0, NULL, 0, NULL, y, COUNT(y), &options));
  printf("  %s\n", rnn_last_error_message());
  for (size_t i = 0; i < COUNT(y); i++) CHECK(y[i] == 5);
  rnn_network_destroy(network);
  rnn_builder_destroy(builder);
}

int main(void) {
  static const char *const cells[] = {"vanilla", "GRU", "LSTM"};
  fill_f64(input, COUNT(input), 1);
  fill_f64(weighting, COUNT(weighting), 2);
  for (int32_t cell = RNN_CELL_VANILLA; cell <= RNN_CELL_LSTM; cell++)
    for (int form = 0; form < 4; form++) {
      const shape shape = {form % 2, 0, form / 2};
      printf("%s, %s, %s\n", cells[cell], shape.bidirectional ? "two directions" : "one direction",
             shape.single_step ? "the last step" : "all steps");
      rnn_network *network = build(cell, shape);
      outputs(network, shape.single_step);
      SECTION("  gradients against central differences; what is left out has none");
      gradients(network, shape.single_step, RNN_PADDING_VALUE);
      SECTION("  and where padding repeats a step, which then has the gradient of the repetitions too");
      gradients(network, shape.single_step, RNN_PADDING_REPEAT);
      rnn_network_destroy(network);
    }
  reversal();
  return finish();
}
