/* Connectionist temporal classification: labels whose order is known, but not their time. The loss of a case that can be
 * counted by hand, its gradient against central differences, both ways to give targets; then clipping of the gradient. */
#include "check.h"

enum { T = 6, N = 3, C = 4, S = 3 };

static const int64_t targets[N * S] = {1, 1, 3, /**/ 2, -1, -1, /**/ 3, 1, -1};
static const int64_t joined[] = {1, 1, 3, 2, 3, 1};
static const int64_t input_lengths[N] = {6, 4, 5}, target_lengths[N] = {3, 1, 2};

static void by_hand(void) {
  SECTION("two steps, three classes of equal probability: of nine alignments three are label 1");
  const float logits[2 * 3] = {0};
  const int64_t label = 1;
  double loss = 0;
  float gradient[2 * 3];
  MUST(rnn_loss_ctc(2, 1, 3, 1, logits, 6, &label, 1, NULL, 0, NULL, 0, &loss, 1, gradient, 6, NULL));
  CHECK(fabs(loss - log(3)) < 1e-6);
  /* "1 1", "1 -", "- 1": at each step two of three have the label, one the blank, and none class 2. */
  for (int t = 0; t < 2; t++) {
    CHECK(fabsf(gradient[3 * t]) < 1e-6f);
    CHECK(fabsf(gradient[3 * t + 1] + 1.0f / 3) < 1e-6f);
    CHECK(fabsf(gradient[3 * t + 2] - 1.0f / 3) < 1e-6f);
  }
}

static double loss_of(const double *logits) {
  double loss = 0;
  MUST(rnn_loss_ctc_f64(T, N, C, S, logits, T * N * C, targets, N * S, input_lengths, N, target_lengths, N, &loss, 1, NULL, 0,
                        NULL));
  return loss;
}

static void slope(void) {
  SECTION("the gradient against central differences; concatenated targets; in place");
  double logits[T * N * C], gradient[T * N * C], same[T * N * C], loss = 0, other = 0, worst = 0;
  fill_f64(logits, COUNT(logits), 3);
  MUST(rnn_loss_ctc_f64(T, N, C, S, logits, COUNT(logits), targets, N * S, input_lengths, N, target_lengths, N, &loss, 1,
                        gradient, COUNT(gradient), NULL));
  for (size_t i = 0; i < COUNT(logits); i++) {
    const double step = 1e-5, value = logits[i];
    logits[i] = value + step;
    const double above = loss_of(logits);
    logits[i] = value - step;
    const double below = loss_of(logits);
    logits[i] = value;
    worst = fmax(worst, fabs((above - below) / (2 * step) - gradient[i]));
  }
  /* Curvature times 1e-10, and rounding of losses around 4 over 2e-5. */
  printf("  largest difference %.1e\n", worst);
  CHECK(worst < 1e-9);

  rnn_ctc_options options = RNN_CTC_OPTIONS_INIT;
  options.concatenated = 1;
  memcpy(same, logits, sizeof same);
  MUST(rnn_loss_ctc_f64(T, N, C, 0, same, COUNT(same), joined, COUNT(joined), input_lengths, N, target_lengths, N, &other, 1,
                        same, COUNT(same), &options));
  CHECK(other == loss);
  CHECK(SAME_BITS(same, gradient));
}

static void no_alignment(void) {
  SECTION("more labels than steps: infinite, or left out");
  float logits[2 * 2 * 3], gradient[2 * 2 * 3];
  fill(logits, COUNT(logits), 5);
  const int64_t labels[2 * 2] = {1, 1, 2, 1}; /* the first row needs a blank between its labels */
  double losses[2];
  rnn_ctc_options options = RNN_CTC_OPTIONS_INIT;
  options.reduction = RNN_REDUCTION_NONE;
  MUST(rnn_loss_ctc(2, 2, 3, 2, logits, COUNT(logits), labels, 4, NULL, 0, NULL, 0, losses, 2, gradient, COUNT(gradient),
                    &options));
  CHECK(isinf(losses[0]) && losses[0] > 0 && isfinite(losses[1]));
  CHECK(isnan(gradient[0]) && isfinite(gradient[3]));

  SECTION("clipping finds it, and changes nothing");
  float *const tensors[1] = {gradient};
  const size_t counts[1] = {COUNT(gradient)};
  rnn_clip_report report = RNN_CLIP_REPORT_INIT;
  const float kept = gradient[3];
  MUST(rnn_gradients_clip_value(tensors, counts, 1, 0, &report));
  CHECK(report.non_finite == 1 && report.non_finite_index == 0 && gradient[3] == kept);

  options.zero_infinity = 1;
  MUST(rnn_loss_ctc(2, 2, 3, 2, logits, COUNT(logits), labels, 4, NULL, 0, NULL, 0, losses, 2, gradient, COUNT(gradient),
                    &options));
  CHECK(losses[0] == 0 && gradient[0] == 0 && gradient[3] == kept);
  MUST(rnn_gradients_clip_each(tensors, counts, 1, 0.5, 2, &report));
  CHECK(report.non_finite == 0 && report.total_norm > 0.5 && report.scale < 1);
  MUST(rnn_gradients_clip_value(tensors, counts, 1, 0.125, &report));
  CHECK(report.total_norm < 0.5001 && report.scale == 1);
  for (size_t i = 0; i < COUNT(gradient); i++) CHECK(fabsf(gradient[i]) <= 0.125f);
}

static void mistakes(void) {
  SECTION("mistakes");
  const float logits[2 * 3] = {0};
  const int64_t label = 1, blank = 0, three = 3;
  double loss = -1;
  EXPECT(RNN_ERROR_INVALID_ARGUMENT, rnn_loss_ctc(2, 1, 3, 1, logits, 6, &blank, 1, NULL, 0, NULL, 0, &loss, 1, NULL, 0, NULL));
  EXPECT(RNN_ERROR_INVALID_ARGUMENT, rnn_loss_ctc(2, 1, 3, 1, logits, 6, &label, 1, &three, 1, NULL, 0, &loss, 1, NULL, 0, NULL));
  EXPECT(RNN_ERROR_BUFFER_TOO_SMALL, rnn_loss_ctc(2, 1, 3, 1, logits, 5, &label, 1, NULL, 0, NULL, 0, &loss, 1, NULL, 0, NULL));
  CHECK(loss == -1);
}

int main(void) {
  by_hand();
  slope();
  no_alignment();
  mistakes();
  return finish();
}
