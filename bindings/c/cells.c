/* One step of every cell on plain arrays, forward and backward, against the equations of rnn.h written as loops here and
 * against central differences. */
#include "check.h"

enum { N = 3, I = 5, H = 7 };

/* ------------------------------------------------------------------------- the equations, one number at a time */

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/** Σ_k weight[row, k] v[k], with weight [.., width]. */
static double dot_row(const double *weight, size_t row, const double *v, size_t width) {
  double sum = 0;
  for (size_t k = 0; k < width; k++) sum += weight[row * width + k] * v[k];
  return sum;
}

/** A pre-activation of row n: x W_xᵀ + h W_hᵀ + b_ih + b_hh, for the row `row` of the weights. */
static double gate(const double *x, const double *h, const double *wx, const double *wh, const double *bx, const double *bh,
                   size_t row) {
  return dot_row(wx, row, x, I) + dot_row(wh, row, h, H) + bx[row] + bh[row];
}

static void vanilla(int relu, const double *x, const double *h, const double *wx, const double *wh, const double *bx,
                    const double *bh, double *next) {
  for (size_t n = 0; n < N; n++)
    for (size_t j = 0; j < H; j++) {
      const double a = gate(x + n * I, h + n * H, wx, wh, bx, bh, j);
      next[n * H + j] = relu ? (a > 0 ? a : 0) : tanh(a);
    }
}

static void gru(int reset_after, const double *x, const double *h, const double *wx, const double *wh, const double *bx,
                const double *bh, double *next) {
  for (size_t n = 0; n < N; n++) {
    const double *xn = x + n * I, *hn = h + n * H;
    double r[H], z[H], rh[H];
    for (size_t j = 0; j < H; j++) {
      r[j] = sigmoid(gate(xn, hn, wx, wh, bx, bh, j));
      z[j] = sigmoid(gate(xn, hn, wx, wh, bx, bh, H + j));
      rh[j] = r[j] * hn[j];
    }
    for (size_t j = 0; j < H; j++) {
      const size_t row = 2 * H + j;
      const double candidate =
          reset_after ? tanh(dot_row(wx, row, xn, I) + bx[row] + r[j] * (dot_row(wh, row, hn, H) + bh[row]))
                      : tanh(gate(xn, rh, wx, wh, bx, bh, row));
      next[n * H + j] = z[j] * hn[j] + (1 - z[j]) * candidate;
    }
  }
}

static void lstm(const double *x, const double *h, const double *c, const double *wx, const double *wh, const double *bx,
                 const double *bh, double *next_h, double *next_c) {
  for (size_t n = 0; n < N; n++)
    for (size_t j = 0; j < H; j++) {
      const double *xn = x + n * I, *hn = h + n * H;
      const double i = sigmoid(gate(xn, hn, wx, wh, bx, bh, j));
      const double f = sigmoid(gate(xn, hn, wx, wh, bx, bh, H + j));
      const double g = tanh(gate(xn, hn, wx, wh, bx, bh, 2 * H + j));
      const double o = sigmoid(gate(xn, hn, wx, wh, bx, bh, 3 * H + j));
      next_c[n * H + j] = f * c[n * H + j] + i * g;
      next_h[n * H + j] = o * tanh(next_c[n * H + j]);
    }
}

/* ------------------------------------------------------------------------------------ arguments and gradients */

/** Everything that goes into a step and comes out of it, for up to four gates, and the same in float. */
#define STEP(T)                                                                                        \
  T x[N * I], h[N * H], c[N * H], wx[4 * H * I], wh[4 * H * H], bx[4 * H], bh[4 * H];                    \
  T next_h[N * H], next_c[N * H], trace[N * 4 * H], next_h_gradient[N * H], next_c_gradient[N * H];      \
  T x_gradient[N * I], h_gradient[N * H], c_gradient[N * H], wx_gradient[4 * H * I];                     \
  T wh_gradient[4 * H * H], bx_gradient[4 * H], bh_gradient[4 * H]
typedef struct { STEP(double); } step_f64;
typedef struct { STEP(float); } step_f32;

typedef enum { VANILLA_TANH, VANILLA_RELU, GRU_BEFORE, GRU_AFTER, LSTM } kind;
static const char *const kind_names[] = {"vanilla, tanh", "vanilla, ReLU", "GRU, reset before", "GRU, reset after", "LSTM"};
static const size_t gates[] = {1, 1, 3, 3, 4};

static void forward_f64(kind k, step_f64 *s) {
  if (k <= VANILLA_RELU)
    MUST(rnn_vanilla_forward_f64(k == VANILLA_RELU ? RNN_NONLINEARITY_RELU : RNN_NONLINEARITY_TANH, N, I, H, s->x, s->h,
                                 s->wx, s->wh, s->bx, s->bh, s->next_h));
  else if (k <= GRU_AFTER)
    MUST(rnn_gru_forward_f64(k == GRU_AFTER ? RNN_GRU_RESET_AFTER : RNN_GRU_RESET_BEFORE, N, I, H, s->x, s->h, s->wx,
                             s->wh, s->bx, s->bh, s->next_h, s->trace));
  else
    MUST(rnn_lstm_forward_f64(N, I, H, s->x, s->h, s->c, s->wx, s->wh, s->bx, s->bh, s->next_h, s->next_c, s->trace));
}

static void backward_f64(kind k, step_f64 *s) {
  if (k <= VANILLA_RELU)
    MUST(rnn_vanilla_backward_f64(k == VANILLA_RELU ? RNN_NONLINEARITY_RELU : RNN_NONLINEARITY_TANH, N, I, H, s->x, s->h,
                                  s->wx, s->wh, s->next_h, s->next_h_gradient, s->x_gradient, s->h_gradient,
                                  s->wx_gradient, s->wh_gradient, s->bx_gradient));
  else if (k <= GRU_AFTER)
    MUST(rnn_gru_backward_f64(k == GRU_AFTER ? RNN_GRU_RESET_AFTER : RNN_GRU_RESET_BEFORE, N, I, H, s->x, s->h, s->wx,
                              s->wh, s->trace, s->next_h_gradient, s->x_gradient, s->h_gradient, s->wx_gradient,
                              s->wh_gradient, s->bx_gradient, s->bh_gradient));
  else
    MUST(rnn_lstm_backward_f64(N, I, H, s->x, s->h, s->c, s->wx, s->wh, s->trace, s->next_c, s->next_h_gradient,
                               s->next_c_gradient, s->x_gradient, s->h_gradient, s->c_gradient, s->wx_gradient,
                               s->wh_gradient, s->bx_gradient));
  if (k != GRU_BEFORE && k != GRU_AFTER) memcpy(s->bh_gradient, s->bx_gradient, sizeof s->bh_gradient);
}

static void forward_f32(kind k, step_f32 *s) {
  if (k <= VANILLA_RELU)
    MUST(rnn_vanilla_forward(k == VANILLA_RELU ? RNN_NONLINEARITY_RELU : RNN_NONLINEARITY_TANH, N, I, H, s->x, s->h, s->wx,
                             s->wh, s->bx, s->bh, s->next_h));
  else if (k <= GRU_AFTER)
    MUST(rnn_gru_forward(k == GRU_AFTER ? RNN_GRU_RESET_AFTER : RNN_GRU_RESET_BEFORE, N, I, H, s->x, s->h, s->wx, s->wh,
                         s->bx, s->bh, s->next_h, s->trace));
  else
    MUST(rnn_lstm_forward(N, I, H, s->x, s->h, s->c, s->wx, s->wh, s->bx, s->bh, s->next_h, s->next_c, s->trace));
}

static void backward_f32(kind k, step_f32 *s) {
  if (k <= VANILLA_RELU)
    MUST(rnn_vanilla_backward(k == VANILLA_RELU ? RNN_NONLINEARITY_RELU : RNN_NONLINEARITY_TANH, N, I, H, s->x, s->h,
                              s->wx, s->wh, s->next_h, s->next_h_gradient, s->x_gradient, s->h_gradient, s->wx_gradient,
                              s->wh_gradient, s->bx_gradient));
  else if (k <= GRU_AFTER)
    MUST(rnn_gru_backward(k == GRU_AFTER ? RNN_GRU_RESET_AFTER : RNN_GRU_RESET_BEFORE, N, I, H, s->x, s->h, s->wx, s->wh,
                          s->trace, s->next_h_gradient, s->x_gradient, s->h_gradient, s->wx_gradient, s->wh_gradient,
                          s->bx_gradient, s->bh_gradient));
  else
    MUST(rnn_lstm_backward(N, I, H, s->x, s->h, s->c, s->wx, s->wh, s->trace, s->next_c, s->next_h_gradient,
                           s->next_c_gradient, s->x_gradient, s->h_gradient, s->c_gradient, s->wx_gradient,
                           s->wh_gradient, s->bx_gradient));
  if (k != GRU_BEFORE && k != GRU_AFTER) memcpy(s->bh_gradient, s->bx_gradient, sizeof s->bh_gradient);
}

/** L = Σ H' ⊙ next_h_gradient (+ Σ C' ⊙ next_c_gradient), whose gradients the backward call gives. */
static double loss(kind k, const step_f64 *s) {
  step_f64 work = *s;
  forward_f64(k, &work);
  double sum = 0;
  for (size_t i = 0; i < N * H; i++) {
    sum += work.next_h[i] * s->next_h_gradient[i];
    if (k == LSTM) sum += work.next_c[i] * s->next_c_gradient[i];
  }
  return sum;
}

/** Largest |gradient - central difference| over one argument. The difference's own error is about 1e-10 for 1e-5 steps. */
static double worst_difference(kind k, step_f64 *s, double *argument, const double *gradient, size_t count) {
  double worst = 0;
  for (size_t i = 0; i < count; i++) {
    const double step = 1e-5, value = argument[i];
    argument[i] = value + step;
    const double above = loss(k, s);
    argument[i] = value - step;
    const double below = loss(k, s);
    argument[i] = value;
    worst = fmax(worst, fabs((above - below) / (2 * step) - gradient[i]));
  }
  return worst;
}

static double worst_error(const double *a, const double *b, size_t count) {
  double worst = 0;
  for (size_t i = 0; i < count; i++) worst = fmax(worst, fabs(a[i] - b[i]));
  return worst;
}

static double worst_error_f32(const float *a, const double *b, size_t count) {
  double worst = 0;
  for (size_t i = 0; i < count; i++) worst = fmax(worst, fabs(a[i] - b[i]));
  return worst;
}

static void check(kind k) {
  SECTION(kind_names[k]);
  const size_t G = gates[k];
  static step_f64 s;
  fill_f64((double *)&s, sizeof s / sizeof(double), 1 + (uint64_t)k);
  forward_f64(k, &s);
  backward_f64(k, &s);

  /* Forward: sums of at most 12 terms below 1 each, so double agrees to a few 1e-15. */
  double next_h[N * H], next_c[N * H];
  if (k <= VANILLA_RELU) vanilla(k == VANILLA_RELU, s.x, s.h, s.wx, s.wh, s.bx, s.bh, next_h);
  else if (k <= GRU_AFTER) gru(k == GRU_AFTER, s.x, s.h, s.wx, s.wh, s.bx, s.bh, next_h);
  else lstm(s.x, s.h, s.c, s.wx, s.wh, s.bx, s.bh, next_h, next_c);
  CHECK(worst_error(s.next_h, next_h, N * H) < 1e-13);
  if (k == LSTM) CHECK(worst_error(s.next_c, next_c, N * H) < 1e-13);

  /* Backward. */
  CHECK(worst_difference(k, &s, s.x, s.x_gradient, N * I) < 1e-8);
  CHECK(worst_difference(k, &s, s.h, s.h_gradient, N * H) < 1e-8);
  CHECK(worst_difference(k, &s, s.wx, s.wx_gradient, G * H * I) < 1e-8);
  CHECK(worst_difference(k, &s, s.wh, s.wh_gradient, G * H * H) < 1e-8);
  CHECK(worst_difference(k, &s, s.bx, s.bx_gradient, G * H) < 1e-8);
  CHECK(worst_difference(k, &s, s.bh, s.bh_gradient, G * H) < 1e-8);
  if (k == LSTM) CHECK(worst_difference(k, &s, s.c, s.c_gradient, N * H) < 1e-8);

  /* Single precision agrees with double. */
  static step_f32 f;
  for (size_t i = 0; i < sizeof s / sizeof(double); i++) ((float *)&f)[i] = (float)((double *)&s)[i];
  memset(f.next_h, 0, sizeof f.next_h);
  forward_f32(k, &f);
  CHECK(worst_error_f32(f.next_h, s.next_h, N * H) < 2e-6);
  backward_f32(k, &f);
  CHECK(worst_error_f32(f.x_gradient, s.x_gradient, N * I) < 2e-5);
  CHECK(worst_error_f32(f.wh_gradient, s.wh_gradient, G * H * H) < 2e-5);
  CHECK(worst_error_f32(f.bh_gradient, s.bh_gradient, G * H) < 2e-5);

  /* A NULL hidden state is zeros, with the same bits; so is a missing bias. */
  step_f64 with = s, without = s;
  memset(with.h, 0, sizeof with.h);
  memset(with.c, 0, sizeof with.c);
  forward_f64(k, &with);
  if (k <= VANILLA_RELU)
    MUST(rnn_vanilla_forward_f64(k == VANILLA_RELU, N, I, H, s.x, NULL, s.wx, s.wh, s.bx, s.bh, without.next_h));
  else if (k <= GRU_AFTER)
    MUST(rnn_gru_forward_f64(k == GRU_AFTER, N, I, H, s.x, NULL, s.wx, s.wh, s.bx, s.bh, without.next_h, NULL));
  else
    MUST(rnn_lstm_forward_f64(N, I, H, s.x, NULL, NULL, s.wx, s.wh, s.bx, s.bh, without.next_h, without.next_c, NULL));
  CHECK(SAME_BITS(with.next_h, without.next_h));
}

int main(void) {
  for (kind k = VANILLA_TANH; k <= LSTM; k++) check(k);
  return finish();
}
