/* The networks that the C benchmarks run. */
#ifndef NETWORKS_H
#define NETWORKS_H

#include <stddef.h>

#include "rnn.h"

enum cell { LSTM, GRU_AFTER, GRU_BEFORE, VANILLA };

extern const char *const cell_names[4];
extern const size_t cell_gates[4];

/** inputs -> one layer of `hidden` -> `outputs` (dense), or the layer alone if outputs is 0. */
rnn_network *recurrent_network(enum cell cell, size_t inputs, size_t hidden, size_t outputs);

/** inputs -> outputs, dense: one packed product. */
rnn_network *linear_network(size_t inputs, size_t outputs);

/** Normal-sized numbers, the same each time; the caller frees them. */
float *numbers(size_t count);

/** A step of a stream. */
void step(void *stream);

/** A call of rnn_network_run, and one of forward_train and backward. */
struct pass {
  rnn_network *network;
  size_t T, N, inputs, outputs;
  float *x, *y, *dy, *gradients;
  size_t gradients_count;
};
struct pass *make_pass(rnn_network *network, size_t T, size_t N, int training);
void free_pass(struct pass *pass);
void run(void *pass);
void train(void *pass);

#endif
