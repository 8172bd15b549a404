/* OpenBLAS on request, in a host that has a cblas_sgemm and a dgemm of its own: librnn's products go to OpenBLAS and never to the
 * host's functions, and OpenBLAS does not either; the results agree with librnn's own kernels, and "none" brings back their bits.
 */
#include "check.h"

static int host_calls = 0;

/* What a host with another BLAS exports. Called, they would be found out: they compute nothing. */
__attribute__((visibility("default"))) void cblas_sgemm(void);
__attribute__((visibility("default"))) void sgemm_(void);
__attribute__((visibility("default"))) void cblas_dgemm(void);
void cblas_sgemm(void) { host_calls++; }
void sgemm_(void) { host_calls++; }
void cblas_dgemm(void) { host_calls++; }

enum { T = 8, N = 64, I = 192, H = 192 };

static float input[T * N * I], own[T * N * H], again[T * N * H], blas[T * N * H];

int main(void) {
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  rnn_recurrent_options lstm = RNN_RECURRENT_OPTIONS_INIT;
  lstm.cell = RNN_CELL_LSTM;
  lstm.hidden_size = H;
  EXPECT(RNN_OK, rnn_builder_create(NULL, &builder));
  EXPECT(RNN_OK, rnn_builder_add_input(builder, "x", I));
  EXPECT(RNN_OK, rnn_builder_add_recurrent(builder, "lstm", NULL, &lstm));
  EXPECT(RNN_OK, rnn_builder_build(builder, NULL, &network));
  for (size_t i = 0; i < T * N * I; i++) input[i] = (float)(i % 17) / 17 - 0.5f;

  SECTION("librnn's own kernels, until somebody asks");
  CHECK(strcmp(rnn_blas_name(), "none") == 0);
  EXPECT(RNN_OK, rnn_network_run(network, T, N, input, T * N * I, NULL, 0, NULL, 0, NULL, own, T * N * H, NULL));

  SECTION("OpenBLAS");
  const rnn_status status = rnn_blas_set("openblas");
  if (status == RNN_ERROR_UNSUPPORTED) {
    printf("  not installed here: %s\n", rnn_last_error_message());
  } else {
    EXPECT(RNN_OK, status);
    printf("  %s\n", rnn_blas_name());
    EXPECT(RNN_OK, rnn_network_run(network, T, N, input, T * N * I, NULL, 0, NULL, 0, NULL, blas, T * N * H, NULL));
    double largest = 0;
    for (size_t i = 0; i < T * N * H; i++) largest = fmax(largest, fabs((double)blas[i] - own[i]));
    /* Sums of at most 385 terms below 1 each: 385 roundings of 2^-24 a step and computation, T steps. */
    printf("  largest difference %.2g\n", largest);
    CHECK(largest <= 2.0 * T * 385 * 0x1p-24);
    CHECK(host_calls == 0);
  }

  SECTION("the own kernels again");
  EXPECT(RNN_OK, rnn_blas_set("none"));
  EXPECT(RNN_OK, rnn_network_run(network, T, N, input, T * N * I, NULL, 0, NULL, 0, NULL, again, T * N * H, NULL));
  CHECK(memcmp(own, again, sizeof own) == 0);
  CHECK(host_calls == 0);
  EXPECT(RNN_ERROR_INVALID_ARGUMENT, rnn_blas_set("mkl"));

  rnn_network_destroy(network);
  rnn_builder_destroy(builder);
  if (failures == 0) printf("OpenBLAS comes and goes, and the host's own BLAS is left alone\n");
  return failures != 0;
}
