/* The shortest useful program: builds a GRU with a linear layer, runs five steps of it, prints what comes out.
 *
 *     cc smoke.c -lrnn
 */
#include <rnn.h>
#include <stdio.h>

int main(void) {
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  rnn_recurrent_options gru = RNN_RECURRENT_OPTIONS_INIT;
  gru.cell = RNN_CELL_GRU;
  gru.hidden_size = 8;

  if (rnn_builder_create(NULL, &builder) || rnn_builder_add_input(builder, "x", 2) ||
      rnn_builder_add_recurrent(builder, "gru", NULL, &gru) || rnn_builder_add_linear(builder, "y", NULL, 1, 1) ||
      rnn_builder_build(builder, NULL, &network)) {
    printf("building failed: %s\n", rnn_last_error_message());
    return 1;
  }

  /* Five steps of two features, one row: [T, N, I] = [5, 1, 2]. */
  const float input[10] = {1, 0, 0, 1, 1, 1, 0, 0, 1, 0};
  float output[5];
  if (rnn_network_run(network, 5, 1, input, 10, NULL, 0, NULL, 0, NULL, output, 5, NULL)) {
    printf("running failed: %s\n", rnn_last_error_message());
    return 1;
  }
  printf("librnn %s, kernels %s:", rnn_version(), rnn_kernels_name());
  for (int t = 0; t < 5; t++) printf(" %.6f", output[t]);
  printf("\n");

  rnn_network_destroy(network);
  rnn_builder_destroy(builder);
  return 0;
}
