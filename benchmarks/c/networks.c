#include "networks.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "measure.h"

const char *const cell_names[4] = {"LSTM", "GRU reset-after", "GRU reset-before", "vanilla RNN"};
const size_t cell_gates[4] = {4, 3, 3, 1};

static rnn_network *built(rnn_builder *builder) {
  rnn_network *network = NULL;
  MUST(rnn_builder_build(builder, NULL, &network));
  rnn_builder_destroy(builder);
  return network;
}

rnn_network *recurrent_network(enum cell cell, size_t inputs, size_t hidden, size_t outputs) {
  rnn_builder *builder = NULL;
  rnn_recurrent_options options = RNN_RECURRENT_OPTIONS_INIT;
  options.cell = cell == LSTM ? RNN_CELL_LSTM : cell == VANILLA ? RNN_CELL_VANILLA : RNN_CELL_GRU;
  options.gru_variant = cell == GRU_AFTER ? RNN_GRU_RESET_AFTER : RNN_GRU_RESET_BEFORE;
  options.hidden_size = hidden;
  MUST(rnn_builder_create(NULL, &builder));
  MUST(rnn_builder_add_input(builder, "x", inputs));
  MUST(rnn_builder_add_recurrent(builder, "layer", NULL, &options));
  if (outputs > 0) MUST(rnn_builder_add_linear(builder, "dense", NULL, outputs, 1));
  return built(builder);
}

rnn_network *linear_network(size_t inputs, size_t outputs) {
  rnn_builder *builder = NULL;
  MUST(rnn_builder_create(NULL, &builder));
  MUST(rnn_builder_add_input(builder, "x", inputs));
  MUST(rnn_builder_add_linear(builder, "dense", NULL, outputs, 1));
  return built(builder);
}

float *numbers(size_t count) {
  float *values = malloc(count * sizeof *values);
  if (values == NULL) abort();
  uint64_t seed = 1;
  for (size_t i = 0; i < count; i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    values[i] = (float)((double)(seed >> 11) / 4503599627370496.0 - 1.0);
  }
  return values;
}

void step(void *stream) { MUST(rnn_stream_step(stream)); }

struct pass *make_pass(rnn_network *network, size_t T, size_t N, int training) {
  struct pass *pass = calloc(1, sizeof *pass);
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  if (pass == NULL) abort();
  MUST(rnn_network_describe(network, &info));
  pass->network = network;
  pass->T = T;
  pass->N = N;
  pass->inputs = info.input_size;
  pass->outputs = info.output_size;
  pass->x = numbers(T * N * pass->inputs);
  pass->y = numbers(T * N * pass->outputs);
  if (training) {
    pass->dy = numbers(T * N * pass->outputs);
    pass->gradients_count = info.parameter_elements;
    pass->gradients = numbers(pass->gradients_count);
  }
  return pass;
}

void free_pass(struct pass *pass) {
  free(pass->x);
  free(pass->y);
  free(pass->dy);
  free(pass->gradients);
  free(pass);
}

void run(void *argument) {
  struct pass *p = argument;
  MUST(rnn_network_run(p->network, p->T, p->N, p->x, p->T * p->N * p->inputs, NULL, 0, NULL, 0, NULL, p->y,
                       p->T * p->N * p->outputs, NULL));
}

void train(void *argument) {
  struct pass *p = argument;
  rnn_tape *tape = NULL;
  MUST(rnn_network_forward_train(p->network, p->T, p->N, p->x, p->T * p->N * p->inputs, NULL, 0, NULL, 0, NULL, p->y,
                                 p->T * p->N * p->outputs, NULL, &tape));
  MUST(rnn_network_backward(p->network, tape, p->dy, p->T * p->N * p->outputs, NULL, NULL, 0, NULL, p->gradients,
                            p->gradients_count, NULL));
  rnn_tape_destroy(tape);
}
