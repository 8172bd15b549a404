/* What a trainer reports: where a number went wrong first (layer, tensor, step), and how the gradient flowed back. */
#include "check.h"

enum { T = 6, N = 2 };

static rnn_network *build(size_t input_size, size_t layers, int bidirectional, int has_linear) {
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  rnn_recurrent_options options = RNN_RECURRENT_OPTIONS_INIT;
  options.hidden_size = 1;
  options.num_layers = layers;
  options.bidirectional = bidirectional;
  options.bias = RNN_BIAS_NONE;
  for (int direction = 0; direction <= bidirectional; direction++) { /* the identity */
    options.activations[direction][0] = RNN_ACTIVATION_AFFINE;
    options.activation_alpha[direction][0] = 1;
  }
  MUST(rnn_builder_create(NULL, &builder));
  MUST(rnn_builder_add_input(builder, "x", input_size));
  MUST(rnn_builder_add_recurrent(builder, "r", NULL, &options));
  if (has_linear) MUST(rnn_builder_add_linear(builder, "y", NULL, 1, 0));
  MUST(rnn_builder_build(builder, NULL, &network));
  rnn_builder_destroy(builder);
  return network;
}

static void set(rnn_network *network, const char *name, float value) {
  float values[2] = {value, value};
  rnn_tensor_info info = RNN_TENSOR_INFO_INIT;
  for (size_t i = 0; rnn_network_parameter_info(network, i, &info) == RNN_OK; i++)
    if (strcmp(info.name, name) == 0) MUST(rnn_network_parameter_set(network, name, values, info.element_count));
}

static size_t index_of(rnn_network *network, const char *name) {
  rnn_tensor_info info = RNN_TENSOR_INFO_INIT;
  for (size_t i = 0; rnn_network_parameter_info(network, i, &info) == RNN_OK; i++)
    if (strcmp(info.name, name) == 0) return i;
  abort();
}

static rnn_trainer *make_trainer(rnn_network *network, size_t update_interval) {
  rnn_trainer_options options = RNN_TRAINER_OPTIONS_INIT;
  options.loss = RNN_LOSS_MSE;
  options.update_interval = update_interval;
  rnn_trainer *trainer = NULL;
  MUST(rnn_trainer_create(network, &options, NULL, &trainer));
  return trainer;
}

static rnn_step_report step(rnn_trainer *trainer, size_t steps, const float *x, const float *target) {
  rnn_step_report report = RNN_STEP_REPORT_INIT;
  MUST(rnn_trainer_step(trainer, steps, N, x, steps * N, NULL, 0, NULL, 0, NULL, 0, target, steps * N, NULL, &report));
  return report;
}

/** The weights of a trainer after a step that was left out. */
static void check_unchanged(rnn_trainer *trainer, rnn_network *network) {
  float before[32], after[32];
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  rnn_network *snapshot = NULL;
  MUST(rnn_network_describe(network, &info));
  MUST(rnn_trainer_snapshot(trainer, &snapshot));
  MUST(rnn_network_parameter_get(network, NULL, before, COUNT(before)));
  MUST(rnn_network_parameter_get(snapshot, NULL, after, COUNT(after)));
  CHECK(memcmp(before, after, info.parameter_elements * sizeof(float)) == 0);
  rnn_network_destroy(snapshot);
}

static void non_finite(void) {
  float x[T * N] = {0}, target[T * N] = {0};

  SECTION("nothing went wrong");
  rnn_network *network = build(1, 2, 0, 1);
  rnn_trainer *trainer = make_trainer(network, 0);
  fill(x, COUNT(x), 1);
  rnn_step_report report = step(trainer, T, x, target);
  CHECK(report.updates == 1 && report.skipped == 0 && report.non_finite == RNN_NON_FINITE_NONE);
  rnn_trainer_destroy(trainer);

  SECTION("forward: a NaN in the input of step 3 is in the first layer first");
  trainer = make_trainer(network, 0);
  x[3 * N + 1] = NAN;
  report = step(trainer, T, x, target);
  CHECK(report.updates == 0 && report.skipped == 1 && report.non_finite == RNN_NON_FINITE_FORWARD);
  CHECK(report.non_finite_layer == 0 && report.non_finite_step == 3);
  CHECK(report.non_finite_parameter == index_of(network, "r.weight_ih_l0"));
  check_unchanged(trainer, network);
  rnn_trainer_destroy(trainer);

  SECTION("forward: with an update after every 2 steps, t is that of the whole sequence");
  trainer = make_trainer(network, 2);
  report = step(trainer, T, x, target);
  CHECK(report.updates == 1 && report.skipped == 2 && report.non_finite == RNN_NON_FINITE_FORWARD);
  CHECK(report.non_finite_layer == 0 && report.non_finite_step == 3);
  rnn_trainer_destroy(trainer);
  x[3 * N + 1] = 0.5f;

  SECTION("forward: a NaN in a weight of the second layer");
  set(network, "r.weight_hh_l1", NAN);
  trainer = make_trainer(network, 0);
  report = step(trainer, T, x, target);
  CHECK(report.non_finite == RNN_NON_FINITE_FORWARD && report.non_finite_layer == 1 && report.non_finite_step == 0);
  check_unchanged(trainer, network);
  rnn_trainer_destroy(trainer);
  rnn_network_destroy(network);

  SECTION("forward: h = 1e10 h overflows at t = 4, in the backward direction at T - 1 - 4");
  network = build(1, 1, 1, 1);
  for (size_t i = 0; i < COUNT(x); i++) x[i] = 1;
  for (int backwards = 0; backwards < 2; backwards++) {
    set(network, "r.weight_ih_l0", 1);
    set(network, "r.weight_ih_l0_reverse", 1);
    set(network, "r.weight_hh_l0", backwards ? 0.5f : 1e10f);
    set(network, "r.weight_hh_l0_reverse", backwards ? 1e10f : 0.5f);
    trainer = make_trainer(network, 0);
    report = step(trainer, T, x, target);
    CHECK(report.skipped == 1 && report.non_finite == RNN_NON_FINITE_FORWARD);
    CHECK(report.non_finite_layer == (size_t)backwards);
    CHECK(report.non_finite_step == (backwards ? T - 1 - 4 : 4));
    rnn_trainer_destroy(trainer);
  }
  rnn_network_destroy(network);

  SECTION("loss: an output that overflows, from finite states");
  network = build(1, 1, 0, 1);
  set(network, "r.weight_ih_l0", 1e20f);
  set(network, "r.weight_hh_l0", 0);
  set(network, "y.weight", 1e20f);
  trainer = make_trainer(network, 0);
  report = step(trainer, T, x, target);
  CHECK(report.skipped == 1 && report.non_finite == RNN_NON_FINITE_LOSS && !(report.loss < HUGE_VAL));
  check_unchanged(trainer, network);
  rnn_trainer_destroy(trainer);

  SECTION("backward: h is 0 and stays it, but its gradient grows by 1e10 a step");
  for (size_t i = 0; i < COUNT(x); i++) x[i] = 0;
  for (size_t i = 0; i < COUNT(target); i++) target[i] = i >= (T - 1) * N; /* only the last step has an error */
  set(network, "r.weight_ih_l0", 1);
  set(network, "r.weight_hh_l0", 1e10f);
  set(network, "y.weight", 1);
  trainer = make_trainer(network, 0);
  report = step(trainer, T, x, target);
  CHECK(report.skipped == 1 && report.non_finite == RNN_NON_FINITE_BACKWARD && report.loss > 0);
  CHECK(report.non_finite_layer == 0 && report.non_finite_step == T - 1 - 4); /* 1e40 is not a float */
  CHECK(report.non_finite_parameter == index_of(network, "r.weight_ih_l0") ||
        report.non_finite_parameter == index_of(network, "r.weight_hh_l0")); /* infinity times h = 0 */
  check_unchanged(trainer, network);

  SECTION("  and with hidden_clip it does not");
  rnn_trainer_destroy(trainer);
  rnn_trainer_options options = RNN_TRAINER_OPTIONS_INIT;
  options.loss = RNN_LOSS_MSE;
  options.hidden_clip = 1;
  MUST(rnn_trainer_create(network, &options, NULL, &trainer));
  report = step(trainer, T, x, target);
  CHECK(report.skipped == 0 && report.updates == 1 && report.non_finite == RNN_NON_FINITE_NONE);
  rnn_trainer_destroy(trainer);

  SECTION("gradient: the product of a large h and a large error, both finite");
  for (size_t i = 0; i < COUNT(x); i++) x[i] = 1;
  for (size_t i = 0; i < COUNT(target); i++) target[i] = 0;
  set(network, "r.weight_ih_l0", 1e30f);
  set(network, "r.weight_hh_l0", 0);
  set(network, "y.weight", 1e-15f);
  trainer = make_trainer(network, 0);
  report = step(trainer, T, x, target);
  CHECK(report.skipped == 1 && report.non_finite == RNN_NON_FINITE_GRADIENT && report.loss < 1e31);
  CHECK(report.non_finite_parameter == index_of(network, "y.weight") ||
        report.non_finite_parameter == index_of(network, "r.weight_hh_l0"));
  check_unchanged(trainer, network);

  SECTION("after all that the trainer learns on");
  for (size_t i = 0; i < COUNT(x); i++) x[i] = 1e-20f;
  report = step(trainer, T, x, target);
  CHECK(report.updates == 1 && report.skipped == 0 && report.non_finite == RNN_NON_FINITE_NONE);
  rnn_trainer_destroy(trainer);
  rnn_network_destroy(network);
}

static void flow(void) {
  SECTION("the flow of the last update: powers of a, from the error at its last step");
  rnn_network *network = build(1, 2, 0, 0);
  const float x[T * N] = {0};
  float target[T * N] = {0};
  target[(T - 1) * N] = 1; /* an error of 1 in one row, at the last step; the mean is over T * N elements */
  static const float a[] = {0.5f, 2};
  set(network, "r.weight_ih_l0", 1);
  set(network, "r.weight_hh_l0", a[0]);
  set(network, "r.weight_ih_l1", 1);
  set(network, "r.weight_hh_l1", a[1]);
  rnn_trainer_options options = RNN_TRAINER_OPTIONS_INIT;
  options.loss = RNN_LOSS_MSE;
  rnn_trainer *trainer = NULL;
  rnn_backward_options flow = RNN_BACKWARD_OPTIONS_INIT;
  double hidden[2 * T], clipped[2 * T];
  size_t steps = 99;

  MUST(rnn_trainer_create(network, &options, NULL, &trainer));
  (void)step(trainer, T, x, target);
  EXPECT(RNN_ERROR_UNSUPPORTED, rnn_trainer_flow(trainer, &flow, &steps)); /* it was not asked for */
  CHECK(steps == 99);
  rnn_trainer_destroy(trainer);

  options.gradient_flow = 1;
  options.update_interval = 2;
  options.backward_steps = 4;
  MUST(rnn_trainer_create(network, &options, NULL, &trainer));
  EXPECT(RNN_ERROR_NOT_FOUND, rnn_trainer_flow(trainer, &flow, &steps)); /* no update yet */
  rnn_step_report report = step(trainer, T, x, target);
  CHECK(report.updates == 3);
  MUST(rnn_trainer_flow(trainer, &flow, &steps));
  CHECK(steps == 4); /* the last window looks back over 4 steps */
  flow.hidden_flow = hidden;
  flow.hidden_flow_count = 2 * 4 - 1;
  EXPECT(RNN_ERROR_BUFFER_TOO_SMALL, rnn_trainer_flow(trainer, &flow, NULL));
  flow.hidden_flow_count = COUNT(hidden);
  flow.clipped_flow = clipped;
  flow.clipped_flow_count = COUNT(clipped);
  MUST(rnn_trainer_flow(trainer, &flow, NULL));
  /* States and weights' gradients are 0, so the weights stay. dL/dy = 2 · (0 - 1) / (steps of the update · N). */
  const double error = 2.0 / (2 * N);
  for (size_t back = 0; back < 4; back++) {
    double first = 0; /* Σ over the ways through both layers */
    for (size_t i = 0; i <= back; i++) first += pow(a[0], (double)i) * pow(a[1], (double)(back - i));
    CHECK(fabs(hidden[4 + 3 - back] - error * pow(a[1], (double)back)) < 1e-6);
    CHECK(fabs(hidden[3 - back] - error * first) < 1e-6);
    CHECK(clipped[3 - back] == hidden[3 - back]);
  }
  rnn_trainer_destroy(trainer);

  SECTION("and with hidden_clip what it became");
  options.update_interval = options.backward_steps = 0;
  options.hidden_clip = 0.25;
  MUST(rnn_trainer_create(network, &options, NULL, &trainer));
  (void)step(trainer, T, x, target);
  MUST(rnn_trainer_flow(trainer, &flow, &steps));
  CHECK(steps == T);
  double reached = 2.0 / (T * N);
  for (size_t t = T; t-- > 0;) {
    CHECK(fabs(hidden[T + t] - reached) < 1e-6);
    reached = fmin(reached, 0.25);
    CHECK(fabs(clipped[T + t] - reached) < 1e-6);
    reached *= a[1];
  }
  rnn_trainer_destroy(trainer);
  rnn_network_destroy(network);
}

int main(void) {
  non_finite();
  flow();
  return finish();
}
