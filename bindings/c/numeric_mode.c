/* librnn computes in a floating-point mode of its own and gives the caller's back: the bits do not depend on how a host has
 * set up its processor, a host that traps on exceptions is not trapped, and denormal numbers cost nothing. */
#include "check.h"

#include <fenv.h>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

enum { T = 20, I = 8, H = 33 };

static rnn_network *network;
static rnn_stream *stream;
static rnn_builder *builder;
static float input[T * I], weight_ih[H * I], weight_hh[H * H];

enum { PARAMETERS = 4 * H * (I + H) + 8 * H };

typedef struct {
  float initial_weights[PARAMETERS];
  float run[T * H];
  float streamed[T * H];
  float cell[H];
  float gradients[PARAMETERS];
} results;

/** A build, a run, a stream, a cell step, a training step: every way into the arithmetic, and no arithmetic of this program. */
static results compute(void) {
  results r;
  memset(&r, 0, sizeof r);
  rnn_network *built = NULL;
  MUST(rnn_builder_build(builder, NULL, &built));
  MUST(rnn_network_parameter_get(built, NULL, r.initial_weights, COUNT(r.initial_weights)));
  rnn_network_destroy(built);

  MUST(rnn_network_run(network, T, 1, input, COUNT(input), NULL, 0, NULL, 0, NULL, r.run, COUNT(r.run), NULL));
  MUST(rnn_stream_reset(stream));
  MUST(rnn_stream_process(stream, T, input, COUNT(input), NULL, 0, r.streamed, COUNT(r.streamed)));
  MUST(rnn_vanilla_forward(RNN_NONLINEARITY_TANH, 1, I, H, input, r.run, weight_ih, weight_hh, NULL, NULL, r.cell));

  rnn_tape *tape = NULL;
  float output[T * H];
  MUST(rnn_network_forward_train(network, T, 1, input, COUNT(input), NULL, 0, NULL, 0, NULL, output, COUNT(output), NULL,
                                 &tape));
  MUST(rnn_network_backward(network, tape, r.run, COUNT(r.run), NULL, NULL, 0, NULL, r.gradients, COUNT(r.gradients), NULL));
  rnn_tape_destroy(tape);
  return r;
}

static void set_up(void) {
  fill(input, COUNT(input), 4);
  fill(weight_ih, COUNT(weight_ih), 8);
  fill(weight_hh, COUNT(weight_hh), 9);
  MUST(rnn_builder_create(NULL, &builder));
  MUST(rnn_builder_add_input(builder, "x", I));
  rnn_recurrent_options lstm = RNN_RECURRENT_OPTIONS_INIT;
  lstm.cell = RNN_CELL_LSTM;
  lstm.hidden_size = H;
  MUST(rnn_builder_add_recurrent(builder, "lstm", NULL, &lstm));
  MUST(rnn_builder_build(builder, NULL, &network));
  MUST(rnn_stream_create(network, NULL, &stream));
}

static void check_same(const results *r, const results *expected) {
  CHECK(SAME_BITS(r->initial_weights, expected->initial_weights));
  CHECK(SAME_BITS(r->run, expected->run));
  CHECK(SAME_BITS(r->streamed, expected->streamed));
  CHECK(SAME_BITS(r->cell, expected->cell));
  CHECK(SAME_BITS(r->gradients, expected->gradients));
}

static void rounding(const results *expected) {
  SECTION("the host's rounding mode");
  static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO, FE_TONEAREST};
  for (size_t i = 0; i < COUNT(modes); i++) {
    fesetround(modes[i]);
    const results r = compute();
    const int mode_after = fegetround();
    fesetround(FE_TONEAREST);
    CHECK(mode_after == modes[i]);
    check_same(&r, expected);
  }
}

#if defined(__SSE2__)
static void control_register(const results *expected) {
  SECTION("every bit of MXCSR: rounding, flush to zero, denormals are zero, exceptions masked or not, flags");
  static const unsigned modes[] = {
      0x1f80,          /* the usual one */
      0x7f80,          /* towards zero */
      0x9fc0,          /* flush to zero, denormals are zero */
      0x1fbf,          /* all flags raised */
      0x0000,          /* every exception traps: inexact too */
      0x3f80, 0x5f80,  /* down, up */
      0xe000 | 0x0040, /* towards zero, flushing, all traps */
  };
  for (size_t i = 0; i < COUNT(modes); i++) {
    _mm_setcsr(modes[i]);
    MUST(rnn_stream_step(stream));
    const unsigned after_step = _mm_getcsr();
    const rnn_status failed = rnn_network_run(network, T, 0, input, 0, NULL, 0, NULL, 0, NULL, NULL, 0, NULL);
    const unsigned after_failure = _mm_getcsr();
    const results r = compute();
    const unsigned after = _mm_getcsr();
    _mm_setcsr(0x1f80);
    CHECK(failed < 0);
    CHECK(after_step == modes[i] && after_failure == modes[i] && after == modes[i]);
    check_same(&r, expected);
  }
}
#endif

static void denormals(void) {
  SECTION("denormal numbers are zero");
  static float zeros[T * I], tiny[T * I], with_zeros[T * H], with_tiny[T * H];
  for (size_t i = 0; i < COUNT(tiny); i++) tiny[i] = 1e-40f;
  MUST(rnn_network_run(network, T, 1, zeros, COUNT(zeros), NULL, 0, NULL, 0, NULL, with_zeros, COUNT(with_zeros), NULL));
  MUST(rnn_network_run(network, T, 1, tiny, COUNT(tiny), NULL, 0, NULL, 0, NULL, with_tiny, COUNT(with_tiny), NULL));
  CHECK(SAME_BITS(with_zeros, with_tiny));
  for (size_t i = 0; i < COUNT(with_tiny); i++) CHECK(with_tiny[i] == 0 || fabsf(with_tiny[i]) >= 1.17549435e-38f);
}

static void not_a_number(void) {
  SECTION("NaN in data passes through");
  float x[I] = {NAN}, y[H];
  MUST(rnn_network_run(network, 1, 1, x, I, NULL, 0, NULL, 0, NULL, y, H, NULL));
  size_t count = 0;
  for (size_t i = 0; i < H; i++) count += isnan(y[i]) ? 1 : 0;
  CHECK(count == H);
}

int main(void) {
  set_up();
  const results expected = compute();
  CHECK(memcmp(expected.run, expected.streamed, sizeof expected.run) == 0);
  rounding(&expected);
#if defined(__SSE2__)
  control_register(&expected);
#endif
  denormals();
  not_a_number();
  rnn_stream_destroy(stream);
  rnn_network_destroy(network);
  rnn_builder_destroy(builder);
  return finish();
}
