/*
 * rnn.h: recurrent neural networks on the CPU. The C interface of librnn and its manual.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Read in this order:
 *   1. Basics        status codes, messages, versions, what every function promises
 *   2. Cell math     one step of a cell on the caller's arrays: no handle, no setup
 *   3. Builder       a network as a list of named nodes
 *   4. Network       load, save, parameters, metadata
 *   5. State         h and c of every layer
 *   6. Run, train    a batch of sequences; backpropagation through time
 *   7. Stream        one step at a time, real-time safe
 *   8. Training      losses, optimizers, clipping, and the trainer that joins them
 *   9. Sampling      tokens from logits
 *
 * A first program:
 *
 *     rnn_network *network = NULL;
 *     if (rnn_network_load("model.safetensors", NULL, &network) != RNN_OK)
 *       return puts(rnn_last_error_message()), 1;
 *     rnn_stream *stream = NULL;
 *     rnn_stream_create(network, NULL, &stream);
 *     float *x, *y; size_t x_count, y_count;
 *     rnn_stream_input(stream, &x, &x_count);
 *     rnn_stream_output(stream, &y, &y_count);
 *     for (;;) { read_frame(x); rnn_stream_step(stream); use(y); }
 *
 * Letters used throughout: T time steps, N rows of the batch, I input size, H hidden size, O output size,
 * L layers, D directions (1 or 2), G gates (vanilla 1, GRU 3, LSTM 4). Shapes stand in brackets; every array
 * is row-major and, unless it says otherwise, time-major: [T, N, I].
 *
 * Gates are stacked in PyTorch's order: GRU r, z, n (reset, update, candidate); LSTM i, f, g, o (input, forget,
 * cell, output). Weights are named and shaped as in PyTorch's state_dict: weight_ih_l0 [G*H, I],
 * weight_hh_l0 [G*H, H], bias_ih_l0 [G*H], bias_hh_l0 [G*H]; a layer with one bias per gate has bias_l0 [G*H].
 *
 * What every function promises:
 *   - It never ends or traps the host. Bad input gives a negative status, a message in rnn_last_error_message()
 *     and untouched outputs, except that an out_* handle is set to NULL first.
 *   - Handles are checked values, not addresses: a destroyed, foreign or wrong-kind handle gives
 *     RNN_ERROR_INVALID_HANDLE. An object lives until the calls running on it return, and a stream or tape keeps
 *     what it needs of its network: the order of destruction is free. Every destroy accepts NULL.
 *   - Arrays must be aligned for their type, and an output may not overlap any other array
 *     (RNN_ERROR_INVALID_ARGUMENT). Each array is followed by its count in elements, which must be at least what
 *     the shapes need (RNN_ERROR_BUFFER_TOO_SMALL); elements past the needed ones are not touched.
 *     An array that is not wanted is NULL with count 0, where its text allows it.
 *   - An options argument may be NULL: all defaults. Otherwise begin with its RNN_*_OPTIONS_INIT and change fields;
 *     zero is the default everywhere. A shorter struct_size is an older caller; a longer one is accepted while its
 *     unknown tail is zero (else RNN_ERROR_UNSUPPORTED).
 *   - float32 by default. A function with the suffix _f64 is the same for networks of dtype RNN_DTYPE_FLOAT64;
 *     calling the other one gives RNN_ERROR_DTYPE.
 *   - Arithmetic runs in librnn's floating-point mode (round to nearest, denormals are zero, exceptions masked),
 *     and the caller's mode is back on return. NaN in data passes through; NaN in an option is an error.
 *   - Same bits: a sequence at once, one step at a time, in any chunks, in a batch or alone, padded or not,
 *     training or running, gives the same bits (docs/contract.md).
 *
 * Any status can come with RNN_ERROR_OUT_OF_MEMORY or RNN_ERROR_INVALID_HANDLE; the texts below name the others.
 *
 * Threads: "thread-safe" means that any threads may call at once on the same object. Builders, states, streams, tapes,
 * optimizers and trainers belong to one thread at a time: a second call that finds one in use gets RNN_ERROR_BUSY.
 *
 * C++: rnn.hpp has classes over these functions.
 *
 * ABI policy: docs/decisions/abi.md. SONAME is librnn.so.0 until 1.0; functions are added, never changed; struct
 * fields are appended; constants keep their values.
 */
#ifndef RNN_H
#define RNN_H

#include <stddef.h>
#include <stdint.h>

#define RNN_VERSION_MAJOR 0
#define RNN_VERSION_MINOR 1
#define RNN_VERSION_PATCH 0
#define RNN_VERSION_STRING "0.1.0"
/** 10000 * major + 100 * minor + patch. */
#define RNN_VERSION_NUMBER 100

#if defined(__GNUC__)
#  define RNN_CHECKED __attribute__((visibility("default"), warn_unused_result))
#  define RNN_API __attribute__((visibility("default")))
#else
#  define RNN_CHECKED
#  define RNN_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ======================================================================================= 1. Basics */

/** Result of a call: RNN_OK, or one of the RNN_ERROR_* below. Values are never reused. @since 0.1 */
typedef int32_t rnn_status;
#define RNN_OK ((rnn_status)0)
/** An argument has a value that is not allowed: NULL, 0, NaN, out of range, misaligned, overlapping. */
#define RNN_ERROR_INVALID_ARGUMENT ((rnn_status)-1)
/** A handle is NULL, destroyed, of another kind, or not one of ours. */
#define RNN_ERROR_INVALID_HANDLE ((rnn_status)-2)
/** A count is below what the shapes need. */
#define RNN_ERROR_BUFFER_TOO_SMALL ((rnn_status)-3)
/** Sizes do not fit together: nodes, parameters, states of another network. */
#define RNN_ERROR_SHAPE ((rnn_status)-4)
/** float32 asked of a float64 network, or the reverse. */
#define RNN_ERROR_DTYPE ((rnn_status)-5)
/** Memory could not be had, or the size overflows. */
#define RNN_ERROR_OUT_OF_MEMORY ((rnn_status)-6)
/** A file could not be opened, read, written or renamed. */
#define RNN_ERROR_IO ((rnn_status)-7)
/** A model file is damaged or lies about itself. */
#define RNN_ERROR_FORMAT ((rnn_status)-8)
/** Valid, but nothing that this version of librnn computes: an unknown operator, a newer format, a missing backend. */
#define RNN_ERROR_UNSUPPORTED ((rnn_status)-9)
/** The object is in use by another call. */
#define RNN_ERROR_BUSY ((rnn_status)-10)
/** No parameter, state, node or metadata entry of that name or index. */
#define RNN_ERROR_NOT_FOUND ((rnn_status)-11)

/** Element type of a network, fixed when it is made. */
#define RNN_DTYPE_FLOAT32 0
#define RNN_DTYPE_FLOAT64 1

/** A network: architecture and weights. Shared by any number of threads. @since 0.1 */
typedef struct rnn_network rnn_network;
/** The list of nodes a network is built from. @since 0.1 */
typedef struct rnn_builder rnn_builder;
/** h (and c) of every recurrent layer, for N rows; also holds gradients with respect to them. @since 0.1 */
typedef struct rnn_state rnn_state;
/** A network, a state and all scratch memory, made beforehand, for one step at a time. @since 0.1 */
typedef struct rnn_stream rnn_stream;
/** An optimizer and its state: moments, velocities. @since 0.1 */
typedef struct rnn_optimizer rnn_optimizer;
/** A network in training: weights, gradients, optimizer and all memory of a step. @since 0.1 */
typedef struct rnn_trainer rnn_trainer;
/** What a training forward pass kept for the backward pass. @since 0.1 */
typedef struct rnn_tape rnn_tape;

/** The version of the library that runs, "major.minor.patch". Thread-safe, real-time safe. @since 0.1 */
RNN_API const char *rnn_version(void);

/** RNN_VERSION_NUMBER of the library that runs. Thread-safe, real-time safe. @since 0.1 */
RNN_API uint32_t rnn_version_number(void);

/**
 * The message of the last call on this thread that failed: the argument, what was expected, what came.
 *
 * @return Never NULL; "" before the first error. Valid until the next failing call on this thread. A call that
 *         succeeds leaves it as it is. Thread-safe, real-time safe.
 * @since 0.1
 */
RNN_API const char *rnn_last_error_message(void);

/** The constant's name, such as "RNN_ERROR_SHAPE"; "unknown status" for other values. Thread-safe. @since 0.1 */
RNN_API const char *rnn_status_name(rnn_status status);

/**
 * The kernels in use: "x86-64-v4", "x86-64-v3" or "baseline". Chosen once per process, the best that processor and
 * operating system support; RNN_FORCE_KERNELS in the environment names a lower one (an unknown or unsupported name
 * is ignored). v4 and v3 give the same bits; baseline has no fused multiply-add and gives others. Thread-safe.
 * @since 0.1
 */
RNN_API const char *rnn_kernels_name(void);

/**
 * Chooses who computes large matrix products of the whole process from now on.
 *
 * @param name  "none": librnn's own kernels (the default). "openblas": the OpenBLAS of the system, loaded now, in a
 *              namespace of its own; small products stay with the own kernels. With it the same-bits promise does
 *              not hold. RNN_BLAS=openblas in the environment asks for it at start.
 * @return RNN_ERROR_UNSUPPORTED if libopenblas cannot be loaded, RNN_ERROR_INVALID_ARGUMENT for another name; the
 *         choice is then as before. Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_blas_set(const char *name);

/** "none", or OpenBLAS's own description of itself, such as "OpenBLAS 0.3.21 …". Thread-safe. @since 0.1 */
RNN_API const char *rnn_blas_name(void);

/**
 * The most threads that one call may use, of all networks in the process; the caller's is one of them. Small work uses fewer.
 * The number changes no bit. The default is RNN_NUM_THREADS in the environment, else the processors that the process may use.
 * Streams are not affected. RNN_ERROR_INVALID_ARGUMENT: 0, or more than 1024. Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_threads_set(size_t count);

/** The most threads that one call may use. Thread-safe. @since 0.1 */
RNN_API size_t rnn_threads_get(void);

/* ==================================================================================== 2. Cell math */

/*
 * One step of a cell, forward and backward, on arrays of the caller, row-vector convention: X [N, I], H [N, H]. N, I and H
 * fix the length of every array, so no counts are passed. The bits are those of one step of a network.
 *
 *   weight_ih [G*H, I], weight_hh [G*H, H], bias_ih and bias_hh [G*H]; either bias, or both, may be NULL for none. Two
 *   biases that are simply added (all but the candidate of the reset-after GRU) are summed in double and rounded once.
 *   A NULL hidden_state or cell_state is all zeros, with the same bits.
 *   Gradients are overwritten, not accumulated; a NULL gradient is not computed.
 *
 * Errors of all of them: RNN_ERROR_INVALID_ARGUMENT (N, I or H is 0 or too large, a required pointer is NULL, an array is
 * misaligned, an output overlaps another array, an unknown nonlinearity or variant). Thread-safe. They may allocate
 * scratch memory: for real time use a stream.
 */

#define RNN_NONLINEARITY_TANH 0
#define RNN_NONLINEARITY_RELU 1

/** Reset gate before the recurrent product: H̃ = tanh(X W_xh + (R ⊙ H) W_hh + b_h). The textbook's GRU, ONNX's default. */
#define RNN_GRU_RESET_BEFORE 0
/** Reset gate after it: H̃ = tanh(X W_xh + b_xh + R ⊙ (H W_hh + b_hh)). PyTorch, cuDNN, Keras. No weights convert one into
 *  the other. */
#define RNN_GRU_RESET_AFTER 1

/**
 * Vanilla cell: H' = φ(X W_xh + H W_hh + b_h), φ = tanh or ReLU.
 *
 * @param nonlinearity      RNN_NONLINEARITY_*.
 * @param input             X [N, I].
 * @param hidden_state      H [N, H], or NULL for zeros.
 * @param out_hidden_state  H' [N, H].
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_vanilla_forward(
    int32_t nonlinearity, size_t N, size_t I, size_t H,
    const float *input, const float *hidden_state,
    const float *weight_ih, const float *weight_hh, const float *bias_ih, const float *bias_hh,
    float *out_hidden_state);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_vanilla_forward_f64(
    int32_t nonlinearity, size_t N, size_t I, size_t H,
    const double *input, const double *hidden_state,
    const double *weight_ih, const double *weight_hh, const double *bias_ih, const double *bias_hh,
    double *out_hidden_state);

/**
 * Backward of rnn_vanilla_forward: A = ∂L/∂H' ⊙ φ'(·), ∂L/∂X = A W_xhᵀ, ∂L/∂H = A W_hhᵀ, ∂L/∂W_xh = Xᵀ A,
 * ∂L/∂W_hh = Hᵀ A, ∂L/∂b = Σ_n A.
 *
 * @param next_hidden_state           H' [N, H], as the forward call returned it.
 * @param next_hidden_state_gradient  ∂L/∂H' [N, H].
 * @param out_bias_gradient           [H]: the gradient of bias_ih, and equally of bias_hh.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_vanilla_backward(
    int32_t nonlinearity, size_t N, size_t I, size_t H,
    const float *input, const float *hidden_state,
    const float *weight_ih, const float *weight_hh,
    const float *next_hidden_state, const float *next_hidden_state_gradient,
    float *out_input_gradient, float *out_hidden_state_gradient,
    float *out_weight_ih_gradient, float *out_weight_hh_gradient, float *out_bias_gradient);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_vanilla_backward_f64(
    int32_t nonlinearity, size_t N, size_t I, size_t H,
    const double *input, const double *hidden_state,
    const double *weight_ih, const double *weight_hh,
    const double *next_hidden_state, const double *next_hidden_state_gradient,
    double *out_input_gradient, double *out_hidden_state_gradient,
    double *out_weight_ih_gradient, double *out_weight_hh_gradient, double *out_bias_gradient);

/**
 * GRU: R = σ(X W_xr + H W_hr + b_r), Z = σ(X W_xz + H W_hz + b_z), H̃ as the variant says, H' = Z ⊙ H + (1 - Z) ⊙ H̃.
 *
 * @param variant    RNN_GRU_RESET_BEFORE or RNN_GRU_RESET_AFTER.
 * @param out_trace  [N, 4*H] for the backward call, or NULL. Each row: R, Z, H̃, and Q, which is R ⊙ H for reset-before and
 *                   H W_hh + b_hh for reset-after.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_gru_forward(
    int32_t variant, size_t N, size_t I, size_t H,
    const float *input, const float *hidden_state,
    const float *weight_ih, const float *weight_hh, const float *bias_ih, const float *bias_hh,
    float *out_hidden_state, float *out_trace);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_gru_forward_f64(
    int32_t variant, size_t N, size_t I, size_t H,
    const double *input, const double *hidden_state,
    const double *weight_ih, const double *weight_hh, const double *bias_ih, const double *bias_hh,
    double *out_hidden_state, double *out_trace);

/**
 * Backward of rnn_gru_forward.
 *
 * @param trace                  [N, 4*H] from the forward call.
 * @param out_bias_ih_gradient   [3*H].
 * @param out_bias_hh_gradient   [3*H]. Equal to out_bias_ih_gradient for reset-before; for reset-after the candidate's
 *                               part is ∂L/∂b_hh = Σ_n A_n ⊙ R.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_gru_backward(
    int32_t variant, size_t N, size_t I, size_t H,
    const float *input, const float *hidden_state,
    const float *weight_ih, const float *weight_hh,
    const float *trace, const float *next_hidden_state_gradient,
    float *out_input_gradient, float *out_hidden_state_gradient,
    float *out_weight_ih_gradient, float *out_weight_hh_gradient,
    float *out_bias_ih_gradient, float *out_bias_hh_gradient);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_gru_backward_f64(
    int32_t variant, size_t N, size_t I, size_t H,
    const double *input, const double *hidden_state,
    const double *weight_ih, const double *weight_hh,
    const double *trace, const double *next_hidden_state_gradient,
    double *out_input_gradient, double *out_hidden_state_gradient,
    double *out_weight_ih_gradient, double *out_weight_hh_gradient,
    double *out_bias_ih_gradient, double *out_bias_hh_gradient);

/**
 * LSTM: I = σ(X W_xi + H W_hi + b_i), F = σ(X W_xf + H W_hf + b_f), O = σ(X W_xo + H W_ho + b_o),
 * C̃ = tanh(X W_xc + H W_hc + b_c), C' = F ⊙ C + I ⊙ C̃, H' = O ⊙ tanh(C').
 *
 * @param cell_state  C [N, H], or NULL for zeros.
 * @param out_trace   [N, 4*H] for the backward call, or NULL. Each row: I, F, C̃, O.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_lstm_forward(
    size_t N, size_t I, size_t H,
    const float *input, const float *hidden_state, const float *cell_state,
    const float *weight_ih, const float *weight_hh, const float *bias_ih, const float *bias_hh,
    float *out_hidden_state, float *out_cell_state, float *out_trace);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_lstm_forward_f64(
    size_t N, size_t I, size_t H,
    const double *input, const double *hidden_state, const double *cell_state,
    const double *weight_ih, const double *weight_hh, const double *bias_ih, const double *bias_hh,
    double *out_hidden_state, double *out_cell_state, double *out_trace);

/**
 * Backward of rnn_lstm_forward.
 *
 * @param trace                       [N, 4*H] from the forward call.
 * @param next_cell_state             C' [N, H], as the forward call returned it.
 * @param next_hidden_state_gradient  ∂L/∂H' [N, H], or NULL for zeros.
 * @param next_cell_state_gradient    ∂L/∂C' [N, H] from the step after this one, or NULL for zeros.
 * @param out_bias_gradient           [4*H]: the gradient of bias_ih, and equally of bias_hh.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_lstm_backward(
    size_t N, size_t I, size_t H,
    const float *input, const float *hidden_state, const float *cell_state,
    const float *weight_ih, const float *weight_hh,
    const float *trace, const float *next_cell_state,
    const float *next_hidden_state_gradient, const float *next_cell_state_gradient,
    float *out_input_gradient, float *out_hidden_state_gradient, float *out_cell_state_gradient,
    float *out_weight_ih_gradient, float *out_weight_hh_gradient, float *out_bias_gradient);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_lstm_backward_f64(
    size_t N, size_t I, size_t H,
    const double *input, const double *hidden_state, const double *cell_state,
    const double *weight_ih, const double *weight_hh,
    const double *trace, const double *next_cell_state,
    const double *next_hidden_state_gradient, const double *next_cell_state_gradient,
    double *out_input_gradient, double *out_hidden_state_gradient, double *out_cell_state_gradient,
    double *out_weight_ih_gradient, double *out_weight_hh_gradient, double *out_bias_gradient);

/* ====================================================================================== 3. Builder */

/*
 * A network is a list of named nodes. Each node but the inputs reads one earlier node (a sum, a product and a concatenation
 * read several), named by `input`; NULL means the node added last. A node's own name may be NULL: it is then its position, "0", "1", ….
 * Names have 1 to 128 characters of [A-Za-z0-9_.-] and are unique. The node added last is the network's output.
 * Parameters are named NODE.PARAMETER, such as "gru.weight_ih_l0".
 *
 * Errors of every add: RNN_ERROR_INVALID_ARGUMENT (a bad or repeated name, a size of 0), RNN_ERROR_NOT_FOUND (no such
 * input node), RNN_ERROR_SHAPE (that node has the wrong size or kind). The builder is then as before.
 */

typedef struct rnn_builder_options {
  size_t struct_size;
  /** RNN_DTYPE_*: of the network to build. */
  int32_t dtype;
  int32_t reserved;
} rnn_builder_options;
#define RNN_BUILDER_OPTIONS_INIT { sizeof(rnn_builder_options), RNN_DTYPE_FLOAT32, 0 }

/** Makes an empty builder. RNN_ERROR_INVALID_ARGUMENT: unknown dtype. Thread-safe. @since 0.1 */
RNN_CHECKED rnn_status rnn_builder_create(const rnn_builder_options *options, rnn_builder **out_builder);

/**
 * Adds an input of `size` features. The feature inputs of a network are passed side by side, in the order in which they
 * were added: `input` of rnn_network_run is [T, N, sum of the sizes].
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_builder_add_input(rnn_builder *builder, const char *name, size_t size);

/**
 * Adds an input of one token (an index) per row and step, for an embedding or one-hot node. The token inputs of a
 * network are passed side by side: `tokens` of rnn_network_run is [T, N, number of token inputs].
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_builder_add_token_input(rnn_builder *builder, const char *name);

/** Adds an embedding: Y = weight[token], parameter weight [vocabulary_size, embedding_size]. @since 0.1 */
RNN_CHECKED rnn_status rnn_builder_add_embedding(
    rnn_builder *builder, const char *name, const char *input, size_t vocabulary_size, size_t embedding_size);

/** Adds a one-hot encoding of a token: Y [.., size] is 1 at the token, 0 elsewhere. @since 0.1 */
RNN_CHECKED rnn_status rnn_builder_add_one_hot(
    rnn_builder *builder, const char *name, const char *input, size_t size);

#define RNN_CELL_VANILLA 0
#define RNN_CELL_GRU 1
#define RNN_CELL_LSTM 2

/** As the cell's home has it: two for vanilla, LSTM and reset-after GRU (PyTorch), one for reset-before GRU. */
#define RNN_BIAS_DEFAULT 0
/** No bias. */
#define RNN_BIAS_NONE 1
/** One bias per gate: bias_l0. For a reset-after GRU the recurrent product then has none. */
#define RNN_BIAS_SINGLE 2
/** Two: bias_ih_l0 and bias_hh_l0. Trained apart, as PyTorch does. */
#define RNN_BIAS_DOUBLE 3

/* Activation functions, of gates and of nodes, y = f(x), each with a backward. α and β are alpha and beta: 0 where the function has
 * none. At a kink the derivative is PyTorch's: relu'(0) is 0, hard_sigmoid' 0 at both ends, leaky_relu' and elu' that of x < 0. */

/** As the gate has it by itself: σ for gates, tanh for candidates and for h(C), φ for the vanilla cell. */
#define RNN_ACTIVATION_DEFAULT 0
/** 1 / (1 + e^-x). */
#define RNN_ACTIVATION_SIGMOID 1
/** max(0, min(1, α x + β)). ONNX and Keras up to 2: α 0.2, β 0.5; Keras 3 and PyTorch: α 1/6, β 0.5. Always say which. */
#define RNN_ACTIVATION_HARD_SIGMOID 2
#define RNN_ACTIVATION_TANH 3
/** max(0, x). */
#define RNN_ACTIVATION_RELU 4
/** x for x >= 0, else α x. */
#define RNN_ACTIVATION_LEAKY_RELU 5
/** x for x > α, else 0. */
#define RNN_ACTIVATION_THRESHOLDED_RELU 6
/** α tanh(β x). */
#define RNN_ACTIVATION_SCALED_TANH 7
/** x for x >= 0, else α (e^x - 1). */
#define RNN_ACTIVATION_ELU 8
/** x / (1 + |x|). */
#define RNN_ACTIVATION_SOFTSIGN 9
/** ln(1 + e^x). */
#define RNN_ACTIVATION_SOFTPLUS 10
/** α x + β; the identity is α 1, β 0. */
#define RNN_ACTIVATION_AFFINE 11

/** How the two directions of a bidirectional layer become its output. @since 0.1 */
/** Side by side, the forward direction first. */
#define RNN_MERGE_CONCAT 0
#define RNN_MERGE_SUM 1
/** Half of the sum. */
#define RNN_MERGE_MEAN 2
/** Element by element. */
#define RNN_MERGE_PRODUCT 3

/** Activations of one direction: LSTM i, f, g, o and h (which is applied to C'); GRU r, z, n; vanilla h. */
#define RNN_ACTIVATION_SLOTS 5

typedef struct rnn_recurrent_options {
  size_t struct_size;
  /** H; required. */
  size_t hidden_size;
  /** L; 0 means 1. Layer l + 1 reads the output of layer l, both directions side by side. */
  size_t num_layers;
  /** RNN_CELL_*. */
  int32_t cell;
  /** RNN_NONLINEARITY_*, of the vanilla cell. */
  int32_t nonlinearity;
  /** RNN_GRU_*, of the GRU. */
  int32_t gru_variant;
  /** RNN_BIAS_*. */
  int32_t bias;
  /** 1: a second cell with weights of its own (suffix _reverse) reads the sequence backwards; see `merge`. */
  int32_t bidirectional;
  int32_t reserved;
  /** Probability that an output of a layer, but the last, is dropped in rnn_network_forward_train; [0, 1). A draw for each
   *  element and step. */
  double dropout;

  /** 1: the one direction reads each sequence backwards, from the row's own last step. Parameters have no suffix. The output
   *  of a step stays at that step; rnn_builder_add_reverse puts it in the order of processing. Not with bidirectional. */
  int32_t reverse;
  /** RNN_MERGE_*, of a bidirectional layer; all but CONCAT need equal sizes of the directions. */
  int32_t merge;
  /** H of the backward direction where it differs; 0 means hidden_size. States are then NODE.h and NODE.h_reverse (and c). */
  size_t hidden_size_reverse;
  /** LSTM: P > 0 makes H' = (O ⊙ h(C')) W_hrᵀ with weight_hr [P, H]; h is [.., P], c stays [.., H]. 0: no projection. */
  size_t proj_size;
  /** 1: from the second layer on, a layer's input is added to its output: Y_l = H_l + Y_(l-1). Dropout acts on what the layer
   *  reads, not on what is added. */
  int32_t residual;
  /** 1: the initial state is a parameter: h_0_l0 [H] (and c_0_l0), one row for all of the batch, zeros at first. It is used
   *  where the caller gives no state, or one as rnn_state_create or rnn_state_reset leave it. */
  int32_t learned_initial_state;
  /** LSTM, 1: peephole connections, diagonal: weight_peephole_l0 [3, H], rows i, f, o. i and f see C, o sees C'. */
  int32_t peepholes;
  /** LSTM, 1: coupled gates, F = 1 - I. The rows of f in weights and biases are there, not used, and have gradient 0. */
  int32_t coupled_gates;
  /** LSTM: C' is kept in [-cell_clip, cell_clip], before it is used and passed on (TensorFlow, cuDNN, TFLite). 0: no limit. */
  double cell_clip;
  /** The input of each gate's and candidate's activation is kept in [-gate_clip, gate_clip] (ONNX `clip`). 0: no limit. */
  double gate_clip;
  /** LSTM, 1: gate_clip also limits the input of h(C'), as the text of ONNX says and onnxruntime does not. */
  int32_t gate_clip_output;
  int32_t reserved2;
  /** LSTM: a constant added to the forget gate's input at run time (TensorFlow 1), beside any bias. */
  double forget_bias;
  /** Probability that an element of H is dropped where it enters the products with W_h, in rnn_network_forward_train: one mask for
   *  all steps of a row (Gal and Ghahramani 2016, arXiv:1512.05287). What passes beside the products (Z ⊙ H, C) is not masked. */
  double recurrent_dropout;
  /** RNN_ACTIVATION_*, α and β for [direction][slot], slots in the order that RNN_ACTIVATION_SLOTS tells. For DEFAULT α and β are 0;
   *  otherwise they are taken as they are. */
  int32_t activations[2][RNN_ACTIVATION_SLOTS];
  double activation_alpha[2][RNN_ACTIVATION_SLOTS];
  double activation_beta[2][RNN_ACTIVATION_SLOTS];
} rnn_recurrent_options;
#define RNN_RECURRENT_OPTIONS_INIT { sizeof(rnn_recurrent_options), 0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, \
    0.0, 0, 0, 0.0, 0.0, {{0}}, {{0.0}}, {{0.0}} }

/**
 * Adds a stack of recurrent layers of one kind and size; output [.., D*H] (P with a projection; one H where directions are
 * merged otherwise than side by side). Options are required; RNN_ERROR_INVALID_ARGUMENT for an option that the cell does not
 * have, a bad value, or sizes that cannot be merged. docs/semantics.md says what other frameworks call each option.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_builder_add_recurrent(
    rnn_builder *builder, const char *name, const char *input, const rnn_recurrent_options *options);

/** Adds Y = X weightᵀ + bias: weight [output_size, input size], and bias [output_size] if `bias` is 1. @since 0.1 */
RNN_CHECKED rnn_status rnn_builder_add_linear(
    rnn_builder *builder, const char *name, const char *input, size_t output_size, int32_t bias);

/**
 * Adds the choice of the last step: Y [N, F] is X at step T - 1 (at the row's length - 1), zero for an empty
 * sequence. Nodes after it have one step. Of a bidirectional layer this is the output at that step, in which the
 * backward direction has read one input only.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_builder_add_last_step(rnn_builder *builder, const char *name, const char *input);

/** Adds the choice of the first step: Y [N, F] is X at each row's first step (with a mask the first that is there), zero for an
 *  empty sequence. It is where a backward direction ends. A network with it has no stream. @since 0.1 */
RNN_CHECKED rnn_status rnn_builder_add_first_step(rnn_builder *builder, const char *name, const char *input);

/** Adds a reversal in time: Y at step t of a row of length L is X at L - 1 - t. With a mask it must be the last node, and turns all
 *  T steps of a row around. @since 0.1 */
RNN_CHECKED rnn_status rnn_builder_add_reverse(rnn_builder *builder, const char *name, const char *input);

/** Adds dropout: in rnn_network_forward_train each element is 0 with the probability [0, 1), and divided by 1 - probability
 *  otherwise; elsewhere it does nothing. @since 0.1 */
RNN_CHECKED rnn_status rnn_builder_add_dropout(
    rnn_builder *builder, const char *name, const char *input, double probability);

/** Adds the sum of two or more earlier nodes of one size, in the order given: residual connections. @since 0.1 */
RNN_CHECKED rnn_status rnn_builder_add_sum(
    rnn_builder *builder, const char *name, const char *const *inputs, size_t input_count);

/** Adds the product of two or more earlier nodes of one size, element by element, in the order given. @since 0.1 */
RNN_CHECKED rnn_status rnn_builder_add_product(
    rnn_builder *builder, const char *name, const char *const *inputs, size_t input_count);

/** Adds the features of two or more earlier nodes side by side, in the order given: Y [.., sum of their sizes]. @since 0.1 */
RNN_CHECKED rnn_status rnn_builder_add_concat(
    rnn_builder *builder, const char *name, const char *const *inputs, size_t input_count);

/** Adds the choice of some features: Y [.., end - begin] is X[.., begin] to X[.., end - 1]. RNN_ERROR_SHAPE unless
 *  begin < end <= features of the input. @since 0.1 */
RNN_CHECKED rnn_status rnn_builder_add_slice(
    rnn_builder *builder, const char *name, const char *input, size_t begin, size_t end);

/**
 * Adds an element-wise function, Y = f(X).
 *
 * @param activation   RNN_ACTIVATION_*, but not DEFAULT.
 * @param alpha, beta  Finite, and 0 where the function has none.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_builder_add_activation(
    rnn_builder *builder, const char *name, const char *input, int32_t activation, double alpha, double beta);

/** Adds softmax over the features of each step, Y_i = e^(X_i) / Σ_j e^(X_j); with log = 1 its logarithm. RNN_LOSS_CROSS_ENTROPY and
 *  rnn_logits_sample want logits, without it. @since 0.1 */
RNN_CHECKED rnn_status rnn_builder_add_softmax(rnn_builder *builder, const char *name, const char *input, int32_t log);

/**
 * Adds layer normalisation over the F features of each step (arXiv:1607.06450):
 * Y = (X - mean) / √(variance + epsilon) ⊙ weight + bias, the variance divided by F; weight [F], 1 at first, and bias [F], 0.
 *
 * @param epsilon  A normal number above 0, such as PyTorch's 1e-5.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_builder_add_layer_norm(
    rnn_builder *builder, const char *name, const char *input, double epsilon);

/** Adds a scale and a shift for each of F features: Y = X ⊙ weight + bias: weight [F], 1 at first, and bias [F], 0, if `bias` is 1.
 *  For the scaling of inputs, and batch normalisation with its statistics folded in. @since 0.1 */
RNN_CHECKED rnn_status rnn_builder_add_scale_shift(
    rnn_builder *builder, const char *name, const char *input, int32_t bias);

/** PyTorch's: recurrent layers U(-1/√H, 1/√H), linear U(-1/√I, 1/√I), embedding N(0, 1). */
#define RNN_INITIALIZATION_PYTORCH 0
/** The textbook's: weights N(0, deviation²), biases 0. In all but ZEROS the weights of layer_norm and scale_shift are 1. */
#define RNN_INITIALIZATION_NORMAL 1
/** Keras': recurrent weights orthogonal gate by gate, others Glorot uniform, biases 0. */
#define RNN_INITIALIZATION_ORTHOGONAL 2
/** All zeros, for weights that are set afterwards. */
#define RNN_INITIALIZATION_ZEROS 3

typedef struct rnn_build_options {
  size_t struct_size;
  /** The numbers depend on the seed, the place of the parameter in the list and nothing else: not on platform or dtype
   *  (a float32 is the float64 rounded). */
  uint64_t seed;
  /** RNN_INITIALIZATION_*. */
  int32_t initialization;
  int32_t reserved;
  /** Added to the forget gate's bias of LSTM layers (to bias_ih where there are two). */
  double forget_bias;
  /** Standard deviation for RNN_INITIALIZATION_NORMAL; 0 means 0.01. */
  double deviation;
} rnn_build_options;
#define RNN_BUILD_OPTIONS_INIT { sizeof(rnn_build_options), 0, 0, 0, 0.0, 0.0 }

/**
 * Makes a network of the nodes so far, with initial weights. The builder stays usable.
 *
 * @return RNN_ERROR_INVALID_ARGUMENT: no node but inputs, an input that nothing reads, an unknown initialization, a
 *         deviation or forget bias that is not finite.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_builder_build(
    rnn_builder *builder, const rnn_build_options *options, rnn_network **out_network);

/** Frees a builder. NULL and handles that are not valid do nothing. @since 0.1 */
RNN_API void rnn_builder_destroy(rnn_builder *builder);

/* ====================================================================================== 4. Network */

typedef struct rnn_load_options {
  size_t struct_size;
  /** Refuse models with more parameters than this, before memory is taken; 0 means no limit. */
  size_t max_parameters;
} rnn_load_options;
#define RNN_LOAD_OPTIONS_INIT { sizeof(rnn_load_options), 0 }

/**
 * Loads a model file (safetensors with librnn's architecture in its metadata; docs/format.md).
 *
 * The file is mapped, checked and copied; it may be replaced while the network lives, but not be truncated in place
 * during the call.
 *
 * @param path  UTF-8, ended by 0.
 * @return RNN_ERROR_IO, RNN_ERROR_FORMAT (the message names the tensor, node or byte), RNN_ERROR_UNSUPPORTED (an operator
 *         or format version that this library does not know). Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_network_load(
    const char *path, const rnn_load_options *options, rnn_network **out_network);

/** Loads a model file from memory, which may be freed afterwards. Otherwise as rnn_network_load. @since 0.1 */
RNN_CHECKED rnn_status rnn_network_load_memory(
    const uint8_t *bytes, size_t byte_count, const rnn_load_options *options, rnn_network **out_network);

typedef struct rnn_save_options {
  size_t struct_size;
  /** 1: do not wait until the file is on the disk. Faster; after a power loss the old file may be back. */
  int32_t no_sync;
  int32_t reserved;
} rnn_save_options;
#define RNN_SAVE_OPTIONS_INIT { sizeof(rnn_save_options), 0, 0 }

/**
 * Writes the network as a model file, atomically: a reader sees the old file or the new one, never a part.
 *
 * @return RNN_ERROR_IO, with the file as it was. Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_network_save(
    rnn_network *network, const char *path, const rnn_save_options *options);

/** Frees a network; calls running on it end first, streams and tapes made from it stay usable. @since 0.1 */
RNN_API void rnn_network_destroy(rnn_network *network);

typedef struct rnn_network_info {
  size_t struct_size;
  /** RNN_DTYPE_*. */
  int32_t dtype;
  /** 1: rnn_stream_create works; 0: some layer is bidirectional, or a node reverses. */
  int32_t streamable;
  /** 1: the output has one step, [N, O]; 0: [T, N, O]. */
  int32_t single_step_output;
  int32_t reserved;
  /** Features of all feature inputs together; 0 if there are none. */
  size_t input_size;
  /** Number of token inputs. */
  size_t token_count;
  size_t output_size;
  /** Number of named parameters, and of elements in all of them. */
  size_t parameter_count;
  size_t parameter_elements;
  /** Number of named states, and of elements in all of them for one row of the batch. */
  size_t state_count;
  size_t state_elements;
  /** Recurrent layers times directions, over all nodes: the rows of the gradient flow. */
  size_t layer_directions;
} rnn_network_info;
#define RNN_NETWORK_INFO_INIT { sizeof(rnn_network_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/** Tells the sizes of a network. Set out_info->struct_size first. Thread-safe. @since 0.1 */
RNN_CHECKED rnn_status rnn_network_describe(rnn_network *network, rnn_network_info *out_info);

typedef struct rnn_tensor_info {
  size_t struct_size;
  /** Valid while the network's handle is. */
  const char *name;
  /** Where the tensor begins, in elements, among all tensors in order; for a state, with one row. */
  size_t offset;
  /** Elements; the product of the shape. */
  size_t element_count;
  size_t rank;
  /** The first `rank` are used. */
  size_t shape[4];
} rnn_tensor_info;
#define RNN_TENSOR_INFO_INIT { sizeof(rnn_tensor_info), NULL, 0, 0, 0, { 0, 0, 0, 0 } }

/** Tells name, place and shape of parameter `index`. RNN_ERROR_NOT_FOUND past the last. Thread-safe. @since 0.1 */
RNN_CHECKED rnn_status rnn_network_parameter_info(rnn_network *network, size_t index, rnn_tensor_info *out_info);

/**
 * Tells name, place and shape of state `index`: NODE.h, and NODE.c for LSTM, each [L*D, N, H], shown for N = 1 (where the
 * directions differ in size NODE.h, NODE.h_reverse, NODE.c, NODE.c_reverse, each [L, N, H]). In an array of all states for N
 * rows, each begins at N times its offset. RNN_ERROR_NOT_FOUND past the last. Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_network_state_info(rnn_network *network, size_t index, rnn_tensor_info *out_info);

/**
 * Copies a parameter out.
 *
 * @param name  As rnn_network_parameter_info tells it, or NULL for all of them, in order, as one array.
 * @return RNN_ERROR_NOT_FOUND, RNN_ERROR_BUFFER_TOO_SMALL, RNN_ERROR_DTYPE. Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_network_parameter_get(
    rnn_network *network, const char *name, float *out_values, size_t values_count);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_network_parameter_get_f64(
    rnn_network *network, const char *name, double *out_values, size_t values_count);

/**
 * Replaces a parameter (name NULL: all of them). Calls in flight, streams and tapes keep the weights they began with; later
 * calls, streams and rnn_stream_reset see the new ones. Costs a copy of all weights: set all at once where many change.
 *
 * @param values_count  Exactly the parameter's elements, else RNN_ERROR_SHAPE.
 * @return RNN_ERROR_NOT_FOUND, RNN_ERROR_SHAPE, RNN_ERROR_DTYPE. Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_network_parameter_set(
    rnn_network *network, const char *name, const float *values, size_t values_count);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_network_parameter_set_f64(
    rnn_network *network, const char *name, const double *values, size_t values_count);

/**
 * Copies the architecture out, as the JSON text of the model file (docs/format.md).
 *
 * @param buffer      Receives the text and a final 0, or NULL with capacity 0 to ask for the length.
 * @param out_length  Characters of the text without the final 0; may be NULL. Set also when the buffer is too small.
 * @return RNN_ERROR_BUFFER_TOO_SMALL if capacity <= length and buffer is not NULL. Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_network_architecture(
    rnn_network *network, char *buffer, size_t capacity, size_t *out_length);

/**
 * Copies the metadata entry `key` out (vocabulary, scaling, class names, sample rate: whatever the maker stored).
 * Buffer, length and errors as rnn_network_architecture; RNN_ERROR_NOT_FOUND if there is none. Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_network_metadata_get(
    rnn_network *network, const char *key, char *buffer, size_t capacity, size_t *out_length);

/**
 * Stores a metadata entry, to be saved with the network. Keys have 1 to 256 bytes and do not begin with "librnn.".
 *
 * @param value  UTF-8, at most 16 MiB; NULL removes the entry.
 * @return RNN_ERROR_INVALID_ARGUMENT. Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_network_metadata_set(rnn_network *network, const char *key, const char *value);

/** Copies the key of metadata entry `index` out, in sorted order. RNN_ERROR_NOT_FOUND past the last. Thread-safe. @since 0.1 */
RNN_CHECKED rnn_status rnn_network_metadata_key(
    rnn_network *network, size_t index, char *buffer, size_t capacity, size_t *out_length);

/* ======================================================================================== 5. State */

/*
 * A state fits every network of the same dtype whose states have the same names and sizes (rnn_network_state_info), whatever
 * else is in the network: the final state of an encoder with a node "gru" can begin a decoder with one (examples/g2p/g2p.c).
 */

typedef struct rnn_state_options {
  size_t struct_size;
  /** N; 0 means 1. */
  size_t batch_size;
} rnn_state_options;
#define RNN_STATE_OPTIONS_INIT { sizeof(rnn_state_options), 0 }

/** Makes a state of zeros for a network, or of its learned initial state. Thread-safe. @since 0.1 */
RNN_CHECKED rnn_status rnn_state_create(
    rnn_network *network, const rnn_state_options *options, rnn_state **out_state);

/** Makes a copy. @since 0.1 */
RNN_CHECKED rnn_status rnn_state_clone(rnn_state *state, rnn_state **out_state);

/** Sets everything to what rnn_state_create gave it. A learned initial state is taken from the network anew when it is next run. @since 0.1 */
RNN_CHECKED rnn_status rnn_state_reset(rnn_state *state);

/**
 * Copies values out: the array `name` (NODE.h or NODE.c, [L*D, N, H]), or with NULL all of them in order, which is also
 * how to store a state. RNN_ERROR_NOT_FOUND, RNN_ERROR_BUFFER_TOO_SMALL, RNN_ERROR_DTYPE.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_state_read(rnn_state *state, const char *name, float *out_values, size_t values_count);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_state_read_f64(rnn_state *state, const char *name, double *out_values, size_t values_count);

/** Copies values in; values_count must be exact (RNN_ERROR_SHAPE). Otherwise as rnn_state_read. @since 0.1 */
RNN_CHECKED rnn_status rnn_state_write(rnn_state *state, const char *name, const float *values, size_t values_count);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_state_write_f64(rnn_state *state, const char *name, const double *values, size_t values_count);

/** Frees a state. @since 0.1 */
RNN_API void rnn_state_destroy(rnn_state *state);

/* =================================================================================== 6. Run, train */

/** Outputs at steps that a row does not have, past its length or where its mask is 0, are padding_value. */
#define RNN_PADDING_VALUE 0
/** They repeat the row's output of the step before, 0 before the first (Keras' plain layers). */
#define RNN_PADDING_REPEAT 1

typedef struct rnn_run_options {
  size_t struct_size;
  /** 1: input, tokens, mask and output are [N, T, ..] instead of [T, N, ..]. */
  int32_t batch_first;
  /** RNN_PADDING_*. */
  int32_t padding;
  /** What RNN_PADDING_VALUE writes; not for a single-step output. */
  double padding_value;
  /** [T, N], 0 or not: a step of a row where it is 0 is left out: nothing is read, the state stays. Left padding and holes,
   *  together with lengths if both are given. NULL: none. */
  const uint8_t *mask;
  size_t mask_count;
  /** 1: the final state of a row without any step is 0, as onnxruntime has it; otherwise it is the initial state. */
  int32_t zero_state_of_empty_rows;
  int32_t reserved;
} rnn_run_options;
#define RNN_RUN_OPTIONS_INIT { sizeof(rnn_run_options), 0, 0, 0.0, NULL, 0, 0, 0 }

/**
 * Runs a network over a batch of sequences.
 *
 * @param T             Time steps; 0 is a legal empty chunk.
 * @param N             Rows, at least 1.
 * @param input         [T, N, input_size], or NULL if the network has no feature input.
 * @param input_count   At least T*N*input_size.
 * @param tokens        [T, N, token_count], each in [0, vocabulary_size), or NULL if the network has no token input.
 * @param lengths       [N]: row n ends after lengths[n] <= T steps. Past its end nothing is read (it may be NaN), outputs are
 *                      options->padding and the state stays; a backward direction begins at the row's own last step; any
 *                      order of lengths. NULL: all T.
 * @param state         The initial state, replaced by the final one; NULL: zeros (the learned initial state where the
 *                      network has one), and the final state is dropped.
 * @param output        [T, N, output_size], or [N, output_size] when single_step_output.
 * @return RNN_ERROR_INVALID_ARGUMENT (N is 0, a token or length out of range, an option), RNN_ERROR_BUFFER_TOO_SMALL,
 *         RNN_ERROR_SHAPE (a state of other layers or another batch size), RNN_ERROR_DTYPE, RNN_ERROR_BUSY (the state is in
 *         use), RNN_ERROR_UNSUPPORTED (a mask, and a reversal that is not the last node). Output and state are then unchanged.
 *         Thread-safe on the network.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_network_run(
    rnn_network *network, size_t T, size_t N,
    const float *input, size_t input_count,
    const int64_t *tokens, size_t tokens_count,
    const int64_t *lengths, size_t lengths_count,
    rnn_state *state,
    float *output, size_t output_count,
    const rnn_run_options *options);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_network_run_f64(
    rnn_network *network, size_t T, size_t N,
    const double *input, size_t input_count,
    const int64_t *tokens, size_t tokens_count,
    const int64_t *lengths, size_t lengths_count,
    rnn_state *state,
    double *output, size_t output_count,
    const rnn_run_options *options);

/**
 * As rnn_network_run, with the states as arrays: one call where the state is not kept in an rnn_state, and threads need none
 * each.
 *
 * A state array holds all of a state's values in order, as rnn_state_read with NULL gives them: [state_elements * N] of
 * rnn_network_info.
 *
 * @param initial_state        NULL: zeros, or the learned initial state where the network has one.
 * @param initial_state_count  At least state_elements * N, as final_state_count.
 * @param final_state          Receives the state after each row's last step; NULL: it is dropped. May be `initial_state` itself.
 * @return As rnn_network_run; output and final_state are then unchanged. Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_network_run_arrays(
    rnn_network *network, size_t T, size_t N,
    const float *input, size_t input_count,
    const int64_t *tokens, size_t tokens_count,
    const int64_t *lengths, size_t lengths_count,
    const float *initial_state, size_t initial_state_count,
    float *output, size_t output_count,
    float *final_state, size_t final_state_count,
    const rnn_run_options *options);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_network_run_arrays_f64(
    rnn_network *network, size_t T, size_t N,
    const double *input, size_t input_count,
    const int64_t *tokens, size_t tokens_count,
    const int64_t *lengths, size_t lengths_count,
    const double *initial_state, size_t initial_state_count,
    double *output, size_t output_count,
    double *final_state, size_t final_state_count,
    const rnn_run_options *options);

typedef struct rnn_train_options {
  size_t struct_size;
  /** As in rnn_run_options; rnn_network_backward uses the same layout. */
  int32_t batch_first;
  /** As in rnn_run_options. */
  int32_t padding;
  /** Dropout masks are a function of (seed, step, node, layer, time, row, unit): the same call gives the same mask. */
  uint64_t dropout_seed;
  uint64_t step;
  /** Absolute time of the first step, so that a sequence in chunks gets the masks of the whole. */
  uint64_t first_time;
  /** These as in rnn_run_options. */
  double padding_value;
  const uint8_t *mask;
  size_t mask_count;
  int32_t zero_state_of_empty_rows;
  int32_t reserved;
} rnn_train_options;
#define RNN_TRAIN_OPTIONS_INIT { sizeof(rnn_train_options), 0, 0, 0, 0, 0, 0.0, NULL, 0, 0, 0 }

/**
 * As rnn_network_run, with dropout, and keeps what the backward pass needs: about T*N*(G+2)*H elements a layer.
 * Without dropout the output has the bits of rnn_network_run.
 *
 * @param out_tape  For any number of calls of rnn_network_backward; free with rnn_tape_destroy. The network keeps the memory of
 *                  the two training passes that ended last (tapes and backward passes), for those to come, until it is freed.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_network_forward_train(
    rnn_network *network, size_t T, size_t N,
    const float *input, size_t input_count,
    const int64_t *tokens, size_t tokens_count,
    const int64_t *lengths, size_t lengths_count,
    rnn_state *state,
    float *output, size_t output_count,
    const rnn_train_options *options, rnn_tape **out_tape);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_network_forward_train_f64(
    rnn_network *network, size_t T, size_t N,
    const double *input, size_t input_count,
    const int64_t *tokens, size_t tokens_count,
    const int64_t *lengths, size_t lengths_count,
    rnn_state *state,
    double *output, size_t output_count,
    const rnn_train_options *options, rnn_tape **out_tape);

/** Gates that the flow tells of: LSTM i, f, g, o; GRU r, z, n; vanilla h. Further columns are 0. */
#define RNN_FLOW_GATES 4

typedef struct rnn_backward_options {
  size_t struct_size;
  /** [layer_directions, T]: receives ||∂L/∂H_t||, the Euclidean norm over all rows of the gradient that reaches H_t, from the
   *  output of that step and from later steps, before hidden_clip. NULL: not computed. So for all arrays here. */
  double *hidden_flow;
  size_t hidden_flow_count;

  /** [layer_directions, T]: ||∂L/∂C_t||, of what reaches C_t from H_t and from C_(t+1); 0 for cells without C. */
  double *cell_flow;
  size_t cell_flow_count;
  /** [layer_directions, T]: hidden_flow after hidden_clip. */
  double *clipped_flow;
  size_t clipped_flow_count;
  /** [layer_directions, T, RNN_FLOW_GATES]: mean over rows and units of each gate's value. */
  double *gate_mean;
  size_t gate_mean_count;
  /** [layer_directions, T, RNN_FLOW_GATES]: share of the gate's values that are saturated: σ outside [0.1, 0.9], tanh and softsign
   *  outside [-0.9, 0.9] (of their range), ReLU at 0. Other activations have none. */
  double *gate_saturation;
  size_t gate_saturation_count;
  /** [layer_directions, T]: the spectral norm of ∂H_t/∂H_(t-1) (of an LSTM with C_(t-1) held), the largest of all rows,
   *  estimated from below by power iteration with a fixed start. */
  double *jacobian_norm;
  size_t jacobian_norm_count;
  /** Above 0: inside backpropagation through time, ∂L/∂H_t of a row whose Euclidean norm is larger is scaled to it. */
  double hidden_clip;
} rnn_backward_options;
#define RNN_BACKWARD_OPTIONS_INIT { sizeof(rnn_backward_options), NULL, 0, NULL, 0, NULL, 0, NULL, 0, NULL, 0, NULL, 0, 0.0 }

/**
 * Backpropagation through time, with the weights of the forward pass.
 *
 * @param network                     The network the tape comes from.
 * @param output_gradient             ∂L/∂output, in the shape and layout of the forward call. Of a padded step it is not read;
 *                                    with RNN_PADDING_REPEAT it belongs to the step that is repeated.
 * @param final_state_gradient        ∂L/∂(final state), or NULL for zeros.
 * @param out_input_gradient          ∂L/∂input, or NULL. Exactly 0 in padding.
 * @param initial_state_gradient      Receives ∂L/∂(initial state), or NULL. May be the same handle as
 *                                    final_state_gradient.
 * @param out_gradients               ∂L/∂parameters, overwritten: one array in the order of rnn_network_parameter_info, or NULL.
 * @return RNN_ERROR_BUFFER_TOO_SMALL, RNN_ERROR_SHAPE (a tape of another network, a state of other layers), RNN_ERROR_DTYPE.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_network_backward(
    rnn_network *network, rnn_tape *tape,
    const float *output_gradient, size_t output_gradient_count,
    rnn_state *final_state_gradient,
    float *out_input_gradient, size_t input_gradient_count,
    rnn_state *initial_state_gradient,
    float *out_gradients, size_t gradients_count,
    const rnn_backward_options *options);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_network_backward_f64(
    rnn_network *network, rnn_tape *tape,
    const double *output_gradient, size_t output_gradient_count,
    rnn_state *final_state_gradient,
    double *out_input_gradient, size_t input_gradient_count,
    rnn_state *initial_state_gradient,
    double *out_gradients, size_t gradients_count,
    const rnn_backward_options *options);

/**
 * Tells name and shape of array `index` that a tape lets one read: for each layer and direction of a recurrent node
 * NODE.h_l0 [T, N, H], NODE.c_l0 [T, N, H] (LSTM) and NODE.gates_l0 [T, N, G, H] (gates as the equations have them, after their
 * activation; LSTM i, f, g, o; GRU r, z, n; vanilla h), and so on, with the suffix _reverse for the backward direction. Always
 * time-major, by the time of the input. RNN_ERROR_NOT_FOUND past the last. The name is valid while the tape's handle is.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_tape_tensor_info(rnn_tape *tape, size_t index, rnn_tensor_info *out_info);

/**
 * Copies an array out: h, c or gates of every step. At steps that a row does not have, h and c are the state that stays there,
 * and gates are 0. RNN_ERROR_NOT_FOUND, RNN_ERROR_BUFFER_TOO_SMALL, RNN_ERROR_DTYPE.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_tape_read(rnn_tape *tape, const char *name, float *out_values, size_t values_count);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_tape_read_f64(rnn_tape *tape, const char *name, double *out_values, size_t values_count);

/** Frees a tape. @since 0.1 */
RNN_API void rnn_tape_destroy(rnn_tape *tape);

/* ======================================================================================= 7. Stream */

/* How a stream keeps the weights of recurrent layers. */
/** As they are. */
#define RNN_STORAGE_FULL 0
/**
 * Rounded to the nearest bfloat16, ties to even: half the bytes, and up to twice the speed where the weights exceed the cache.
 * Each weight changes by at most 2^-9 of itself; products, sums, biases and state stay float32.
 */
#define RNN_STORAGE_BFLOAT16 1

typedef struct rnn_stream_options {
  size_t struct_size;
  /** N; 0 means 1. */
  size_t batch_size;
  /**
   * Threads that a step may use, the caller's included; 0 means 1, at most 1024. A step uses them where a layer's weights are so
   * large that sharing pays (some 256 KiB), with the same bits. It then waits for the other threads, which spin for some 20 us
   * after a step and then sleep: for steps in quick succession. A step that finds them asleep wakes them, and is done by the
   * caller alone. The threads are those of the process's one pool.
   */
  size_t num_threads;
  /**
   * RNN_STORAGE_*. RNN_STORAGE_BFLOAT16 needs batch_size 1 and a float32 network of one input, recurrent layers of one
   * direction with none but cell, size, layers, bias and dropout chosen, and linear layers; these keep float32 weights.
   */
  int32_t weight_storage;
  int32_t reserved;
} rnn_stream_options;
#define RNN_STREAM_OPTIONS_INIT { sizeof(rnn_stream_options), 0, 0, RNN_STORAGE_FULL, 0 }

/**
 * Makes a stream with a state of zeros. Everything a step needs is allocated here.
 *
 * @return RNN_ERROR_UNSUPPORTED: a layer is bidirectional, and needs the whole sequence; or the network cannot have the
 *     weight_storage.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_stream_create(
    rnn_network *network, const rnn_stream_options *options, rnn_stream **out_stream);

/**
 * The memory a step reads its features from, [N, input_size], and writes its result to, [N, output_size]. The stream owns
 * it; it does not move and is valid until the stream is destroyed. RNN_ERROR_DTYPE. @since 0.1
 */
RNN_CHECKED rnn_status rnn_stream_input(rnn_stream *stream, float **out_values, size_t *out_count);
RNN_CHECKED rnn_status rnn_stream_output(rnn_stream *stream, float **out_values, size_t *out_count);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_stream_input_f64(rnn_stream *stream, double **out_values, size_t *out_count);
RNN_CHECKED rnn_status rnn_stream_output_f64(rnn_stream *stream, double **out_values, size_t *out_count);

/** The memory a step reads its tokens from, [N, token_count]; otherwise as rnn_stream_input. @since 0.1 */
RNN_CHECKED rnn_status rnn_stream_tokens(rnn_stream *stream, int64_t **out_values, size_t *out_count);

/**
 * One step: reads the bound input and tokens, advances the state, writes the bound output. Works for both dtypes.
 *
 * Real-time safe: no allocation, no lock, no system call; the same time for silence as for sound. (A call that fails
 * may allocate for its message.)
 *
 * @return RNN_ERROR_INVALID_ARGUMENT: a bound token is out of range; the state is then as before.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_stream_step(rnn_stream *stream);

/**
 * T steps from and to arrays of the caller: shapes and errors as rnn_network_run, time-major. The bound arrays are not
 * touched. Real-time safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_stream_process(
    rnn_stream *stream, size_t T,
    const float *input, size_t input_count,
    const int64_t *tokens, size_t tokens_count,
    float *output, size_t output_count);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_stream_process_f64(
    rnn_stream *stream, size_t T,
    const double *input, size_t input_count,
    const int64_t *tokens, size_t tokens_count,
    double *output, size_t output_count);

/** Sets the state to zero and takes up the network's present weights. Not real-time safe. @since 0.1 */
RNN_CHECKED rnn_status rnn_stream_reset(rnn_stream *stream);

/**
 * Copies the stream's state to `state`, which fits its network and has its batch size (RNN_ERROR_SHAPE). Real-time safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_stream_state_get(rnn_stream *stream, rnn_state *state);

/** Copies `state` to the stream's; otherwise as rnn_stream_state_get. @since 0.1 */
RNN_CHECKED rnn_status rnn_stream_state_set(rnn_stream *stream, rnn_state *state);

/** Frees a stream and the memory that was bound to it. @since 0.1 */
RNN_API void rnn_stream_destroy(rnn_stream *stream);

/* ===================================================================================== 8. Training */

#define RNN_REDUCTION_MEAN 0
#define RNN_REDUCTION_SUM 1
/** One value a row; gradients are those of the rows' own values. */
#define RNN_REDUCTION_NONE 2

typedef struct rnn_cross_entropy_options {
  size_t struct_size;
  /** RNN_REDUCTION_*. The mean is over the rows that are not ignored, weighted by the weights of their targets. */
  int32_t reduction;
  /** 1: use ignore_index; 0: it is -100, PyTorch's. */
  int32_t has_ignore_index;
  /** Rows with this target count for nothing, and their gradient is 0. */
  int64_t ignore_index;
  /** ε in [0, 1]: the target distribution is (1 - ε) · one-hot + ε / C. */
  double label_smoothing;
} rnn_cross_entropy_options;
#define RNN_CROSS_ENTROPY_OPTIONS_INIT { sizeof(rnn_cross_entropy_options), 0, 0, 0, 0.0 }

/**
 * Softmax cross-entropy and its gradient, as PyTorch defines it: l_r = -w_y log softmax(logits_r)_y, y = targets[r].
 *
 * @param logits          [rows, classes].
 * @param targets         [rows], each in [0, classes) or the ignore index.
 * @param class_weights   [classes], or NULL for ones.
 * @param out_loss        [1], or [rows] for RNN_REDUCTION_NONE. NaN for the mean of no row.
 * @param out_gradient    [rows, classes]: ∂loss/∂logits, or NULL. May be `logits` itself.
 * @return RNN_ERROR_INVALID_ARGUMENT (a target out of range, classes is 0, an option), RNN_ERROR_BUFFER_TOO_SMALL.
 *         Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_loss_cross_entropy(
    size_t rows, size_t classes,
    const float *logits, size_t logits_count,
    const int64_t *targets, size_t targets_count,
    const float *class_weights, size_t class_weights_count,
    double *out_loss, size_t loss_count,
    float *out_gradient, size_t gradient_count,
    const rnn_cross_entropy_options *options);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_loss_cross_entropy_f64(
    size_t rows, size_t classes,
    const double *logits, size_t logits_count,
    const int64_t *targets, size_t targets_count,
    const double *class_weights, size_t class_weights_count,
    double *out_loss, size_t loss_count,
    double *out_gradient, size_t gradient_count,
    const rnn_cross_entropy_options *options);

typedef struct rnn_mse_options {
  size_t struct_size;
  /** RNN_REDUCTION_*; the mean is over all elements. */
  int32_t reduction;
  int32_t reserved;
} rnn_mse_options;
#define RNN_MSE_OPTIONS_INIT { sizeof(rnn_mse_options), 0, 0 }

/**
 * Squared error and its gradient: (prediction - target)².
 *
 * @param out_loss      [1], or [count] for RNN_REDUCTION_NONE.
 * @param out_gradient  [count], or NULL. May be `prediction` itself.
 * @return RNN_ERROR_INVALID_ARGUMENT, RNN_ERROR_BUFFER_TOO_SMALL. Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_loss_mse(
    size_t count,
    const float *prediction, size_t prediction_count,
    const float *target, size_t target_count,
    double *out_loss, size_t loss_count,
    float *out_gradient, size_t gradient_count,
    const rnn_mse_options *options);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_loss_mse_f64(
    size_t count,
    const double *prediction, size_t prediction_count,
    const double *target, size_t target_count,
    double *out_loss, size_t loss_count,
    double *out_gradient, size_t gradient_count,
    const rnn_mse_options *options);

typedef struct rnn_ctc_options {
  size_t struct_size;
  /** RNN_REDUCTION_*. The mean is PyTorch's: each row's loss over its target length (at least 1), then the mean of the rows. */
  int32_t reduction;
  /** 1: a row of infinite loss has loss 0 and gradient 0. 0: its gradient is NaN in its steps, as PyTorch's. */
  int32_t zero_infinity;
  /** The class of no label, in [0, classes). */
  int64_t blank;
  /** How targets lie in memory. 0: padded, [N, S]. 1: one row after the other, [sum of target_lengths]; S is not read. */
  int32_t concatenated;
  int32_t reserved;
} rnn_ctc_options;
#define RNN_CTC_OPTIONS_INIT { sizeof(rnn_ctc_options), 0, 0, 0, 0, 0 }

/**
 * Connectionist temporal classification (doi:10.1145/1143844.1143891) and its gradient: -log of the sum of the
 * probabilities of all alignments of a row's labels to its steps. In an alignment each step has a label or the blank;
 * equal neighbours are one label, and then the blanks fall out: "a a - b" is "a b", "a - a" is "a a". Probabilities are
 * softmax(logits): do not apply a softmax or its logarithm before, as PyTorch's ctc_loss wants it.
 *
 * A row has no alignment, and an infinite loss, if its steps are fewer than its labels and a blank between each two equal
 * neighbours. Its gradient is then NaN, unless zero_infinity is set. A row of no labels is one of blanks alone.
 * Each row has the same bits alone and in any batch, on any number of threads. The sums over alignments are in double.
 *
 * @param logits          [T, N, classes].
 * @param targets         Labels: [N, S], or as rnn_ctc_options.concatenated says. Each in [0, classes) and not the blank;
 *                        what lies behind a row's target length is not read. May be NULL if there are none.
 * @param input_lengths   [N]: steps of each row, 0 to T; NULL: T each. What lies behind is not read, and its gradient is 0.
 * @param target_lengths  [N]: labels of each row, 0 to S; NULL: S each. Concatenated targets need it.
 * @param out_loss        [1], or [N] for RNN_REDUCTION_NONE. NaN for the mean of no row.
 * @param out_gradient    [T, N, classes]: ∂loss/∂logits, or NULL, which takes less time and memory. May be `logits` itself.
 * @return RNN_ERROR_INVALID_ARGUMENT (a length or a label out of range, a label that is the blank, classes is 0, an
 *         option), RNN_ERROR_BUFFER_TOO_SMALL. Thread-safe. Takes about 3 * T * (S + 8) doubles of memory for each thread.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_loss_ctc(
    size_t T, size_t N, size_t classes, size_t S,
    const float *logits, size_t logits_count,
    const int64_t *targets, size_t targets_count,
    const int64_t *input_lengths, size_t input_lengths_count,
    const int64_t *target_lengths, size_t target_lengths_count,
    double *out_loss, size_t loss_count,
    float *out_gradient, size_t gradient_count,
    const rnn_ctc_options *options);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_loss_ctc_f64(
    size_t T, size_t N, size_t classes, size_t S,
    const double *logits, size_t logits_count,
    const int64_t *targets, size_t targets_count,
    const int64_t *input_lengths, size_t input_lengths_count,
    const int64_t *target_lengths, size_t target_lengths_count,
    double *out_loss, size_t loss_count,
    double *out_gradient, size_t gradient_count,
    const rnn_ctc_options *options);

typedef struct rnn_clip_report {
  size_t struct_size;
  /** Norm of all gradients together, before clipping. */
  double total_norm;
  /** What every gradient was multiplied by: min(1, max_norm / (total_norm + 1e-6)); 1 with non_finite. Of
   *  rnn_gradients_clip_each the smallest. */
  double scale;
  /** The tensor with the largest norm, and that norm. */
  size_t largest_index;
  double largest_norm;
  /** 1: some gradient is infinite or NaN; nothing was changed then, and the step should be skipped. */
  int32_t non_finite;
  int32_t reserved;
  /** The first tensor with such a value. */
  size_t non_finite_index;
} rnn_clip_report;
#define RNN_CLIP_REPORT_INIT { sizeof(rnn_clip_report), 0.0, 0.0, 0, 0.0, 0, 0, 0 }

/**
 * Clips gradients by their global norm, in place, as PyTorch's clip_grad_norm_ does.
 *
 * The sums are in double, and of huge double gradients relative to the largest: squares do not overflow.
 *
 * @param gradients     [tensor_count] pointers to tensors.
 * @param counts        [tensor_count]: elements of each.
 * @param max_norm      At least 0; infinity only measures.
 * @param norm_type     p of the norm, at least 1; infinity for the largest magnitude.
 * @param out_report    NULL if it is not wanted.
 * @return RNN_ERROR_INVALID_ARGUMENT. Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_gradients_clip(
    float *const *gradients, const size_t *counts, size_t tensor_count,
    double max_norm, double norm_type, rnn_clip_report *out_report);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_gradients_clip_f64(
    double *const *gradients, const size_t *counts, size_t tensor_count,
    double max_norm, double norm_type, rnn_clip_report *out_report);

/**
 * Clips each tensor by its own norm, in place: every tensor times min(1, max_norm / (its norm + 1e-6)), as PyTorch's
 * clip_grad_norm_ of each tensor alone.
 *
 * Arguments and errors are those of rnn_gradients_clip. In the report total_norm is that of all tensors together, before,
 * and scale is the smallest of the factors. If some gradient is infinite or NaN nothing is changed, in no tensor.
 * Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_gradients_clip_each(
    float *const *gradients, const size_t *counts, size_t tensor_count,
    double max_norm, double norm_type, rnn_clip_report *out_report);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_gradients_clip_each_f64(
    double *const *gradients, const size_t *counts, size_t tensor_count,
    double max_norm, double norm_type, rnn_clip_report *out_report);

/**
 * Clips each element to [-clip_value, clip_value], in place, as PyTorch's clip_grad_value_ does. Directions change: a
 * clipped gradient is no multiple of the whole one.
 *
 * Otherwise as rnn_gradients_clip. The report's norms are Euclidean and from before; its scale is 1. If some gradient is
 * infinite or NaN nothing is changed.
 *
 * @param clip_value  At least 0; infinity only measures.
 * @return RNN_ERROR_INVALID_ARGUMENT. Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_gradients_clip_value(
    float *const *gradients, const size_t *counts, size_t tensor_count,
    double clip_value, rnn_clip_report *out_report);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_gradients_clip_value_f64(
    double *const *gradients, const size_t *counts, size_t tensor_count,
    double clip_value, rnn_clip_report *out_report);

/** Stochastic gradient descent: learning_rate, momentum, dampening, weight_decay, nesterov. */
#define RNN_OPTIMIZER_SGD 0
/** Adam (arXiv:1412.6980), weight decay added to the gradient: learning_rate, beta1, beta2, epsilon, weight_decay, amsgrad. */
#define RNN_OPTIMIZER_ADAM 1
/** Adam with decoupled weight decay (arXiv:1711.05101). */
#define RNN_OPTIMIZER_ADAMW 2
/** RMSprop: learning_rate, alpha, epsilon, weight_decay, momentum, centered. */
#define RNN_OPTIMIZER_RMSPROP 3

typedef struct rnn_optimizer_options {
  size_t struct_size;
  /** RNN_OPTIMIZER_*. */
  int32_t kind;
  int32_t nesterov;
  int32_t amsgrad;
  int32_t centered;
  /** 0 means the default of the kind: SGD 0.1, RMSprop 0.01, Adam and AdamW 0.001. */
  double learning_rate;
  double momentum;
  double dampening;
  double weight_decay;
  /** 0 means 0.9. */
  double beta1;
  /** 0 means 0.999. */
  double beta2;
  /** 0 means 1e-8. */
  double epsilon;
  /** 0 means 0.99. */
  double alpha;
} rnn_optimizer_options;
#define RNN_OPTIMIZER_OPTIONS_INIT { sizeof(rnn_optimizer_options), 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0 }

/**
 * Makes an optimizer for `count` numbers of one dtype. The update rules are PyTorch's.
 *
 * @return RNN_ERROR_INVALID_ARGUMENT: an unknown kind or dtype, a hyper-parameter out of its range or NaN. Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_optimizer_create(
    int32_t dtype, size_t count, const rnn_optimizer_options *options, rnn_optimizer **out_optimizer);

/**
 * One update of the parameters, in place.
 *
 * @param parameters  [count], as at creation; so are the gradients.
 * @return RNN_ERROR_SHAPE (another count), RNN_ERROR_DTYPE.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_optimizer_step(
    rnn_optimizer *optimizer, float *parameters, size_t parameters_count, const float *gradients, size_t gradients_count);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_optimizer_step_f64(
    rnn_optimizer *optimizer, double *parameters, size_t parameters_count, const double *gradients, size_t gradients_count);

/** Changes the learning rate, for a schedule: finite, at least 0. @since 0.1 */
RNN_CHECKED rnn_status rnn_optimizer_learning_rate_set(rnn_optimizer *optimizer, double learning_rate);

/** Frees an optimizer. @since 0.1 */
RNN_API void rnn_optimizer_destroy(rnn_optimizer *optimizer);

#define RNN_LOSS_CROSS_ENTROPY 0
#define RNN_LOSS_MSE 1

/** What clip_norm of a trainer bounds: the norm of all gradients together, of each tensor, or the magnitude of each element. */
#define RNN_CLIP_GLOBAL_NORM 0
#define RNN_CLIP_TENSOR_NORM 1
#define RNN_CLIP_VALUE 2

typedef struct rnn_trainer_options {
  size_t struct_size;
  /** RNN_LOSS_*; the mean over all steps and rows that are not padding. */
  int32_t loss;
  /** 1: use ignore_index; 0: it is -100. Cross-entropy only. */
  int32_t has_ignore_index;
  int64_t ignore_index;
  /** Clip gradients to this, in the sense of clip_mode; 0 means no clipping. */
  double clip_norm;
  /** k1 of truncated backpropagation: an update after every so many steps of a sequence; 0: one update, after all of it. */
  size_t update_interval;
  /** k2: how many steps back each update looks, at least update_interval; 0 means update_interval. */
  size_t backward_steps;
  uint64_t dropout_seed;
  /** Above 0: rnn_backward_options.hidden_clip of every backward pass. */
  double hidden_clip;
  /** RNN_CLIP_*. */
  int32_t clip_mode;
  /** 1: keep the flow of the last update's gradient for rnn_trainer_flow; costs time. */
  int32_t gradient_flow;
} rnn_trainer_options;
#define RNN_TRAINER_OPTIONS_INIT { sizeof(rnn_trainer_options), 0, 0, 0, 0.0, 0, 0, 0, 0.0, 0, 0 }

/** Where the first number that is infinite or NaN was found. */
#define RNN_NON_FINITE_NONE 0
/** In H or C of the forward pass: the lowest layer, and the first step of it that went wrong. */
#define RNN_NON_FINITE_FORWARD 1
/** In the output or the loss, with all states finite. */
#define RNN_NON_FINITE_LOSS 2
/** In ∂L/∂H_t: the highest layer, and the step that the backward pass met first. */
#define RNN_NON_FINITE_BACKWARD 3
/** In the gradient of a parameter alone. */
#define RNN_NON_FINITE_GRADIENT 4

/** What a step of a trainer did. Where it made several updates, sums and means over them, and the worst for the flags. */
typedef struct rnn_step_report {
  size_t struct_size;
  /** Mean loss of the terms that counted. */
  double loss;
  /** Terms that counted: tokens for cross-entropy, elements for squared error. */
  size_t terms;
  /** Global norm of the last update's gradients before clipping, and what they were multiplied by. */
  double gradient_norm;
  double gradient_scale;
  /** Parameter with the largest gradient norm, by its index. */
  size_t largest_parameter;
  /** Updates made, and updates skipped because a gradient or the loss was not finite. */
  size_t updates;
  size_t skipped;
  /** RNN_NON_FINITE_*, of the first skipped update: what went wrong first. */
  int32_t non_finite;
  int32_t reserved;
  /** FORWARD, BACKWARD: which layer and direction, a row of the gradient flow, and the step t in this call's sequence. */
  size_t non_finite_layer;
  size_t non_finite_step;
  /** The first parameter whose gradient is not finite; SIZE_MAX if all are. */
  size_t non_finite_parameter;
} rnn_step_report;
#define RNN_STEP_REPORT_INIT { sizeof(rnn_step_report), 0.0, 0, 0.0, 0.0, 0, 0, 0, 0, 0, 0, 0, 0 }

/**
 * Makes a trainer with a copy of the network's weights; the network itself does not change.
 *
 * Its memory is that of a training pass and a backward pass of the last T and N, gradients and the optimizer's. Where the network ends with
 * a linear layer and the loss is cross-entropy, logits and their gradients are there for blocks of at most 384 rows of the [T, N] (of more
 * where a block has less than 8 MiB), whatever T and N.
 *
 * @param options    NULL: cross-entropy, no clipping, full backpropagation.
 * @param optimizer  NULL: SGD with its defaults.
 * @return RNN_ERROR_INVALID_ARGUMENT. Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_trainer_create(
    rnn_network *network, const rnn_trainer_options *options, const rnn_optimizer_options *optimizer,
    rnn_trainer **out_trainer);

/**
 * One batch: forward, loss, backward, clip, update; with truncated backpropagation several times along the sequence.
 * The state carries over detached: gradients stop at its border.
 *
 * @param class_targets   Cross-entropy: [T, N], or [N] for a single-step output; each in [0, output_size) or ignored.
 * @param value_targets   Squared error: in the shape of the output. The other one is NULL.
 * @param state           Initial state, replaced by the final one; NULL: zeros.
 * @param out_report      May be NULL.
 * @return As rnn_network_forward_train; RNN_ERROR_UNSUPPORTED: truncated backpropagation of a bidirectional or
 *         single-step network. Weights and state are then as before.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_trainer_step(
    rnn_trainer *trainer, size_t T, size_t N,
    const float *input, size_t input_count,
    const int64_t *tokens, size_t tokens_count,
    const int64_t *lengths, size_t lengths_count,
    const int64_t *class_targets, size_t class_targets_count,
    const float *value_targets, size_t value_targets_count,
    rnn_state *state, rnn_step_report *out_report);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_trainer_step_f64(
    rnn_trainer *trainer, size_t T, size_t N,
    const double *input, size_t input_count,
    const int64_t *tokens, size_t tokens_count,
    const int64_t *lengths, size_t lengths_count,
    const int64_t *class_targets, size_t class_targets_count,
    const double *value_targets, size_t value_targets_count,
    rnn_state *state, rnn_step_report *out_report);

/** The loss alone, without dropout and without an update; otherwise as rnn_trainer_step. @since 0.1 */
RNN_CHECKED rnn_status rnn_trainer_evaluate(
    rnn_trainer *trainer, size_t T, size_t N,
    const float *input, size_t input_count,
    const int64_t *tokens, size_t tokens_count,
    const int64_t *lengths, size_t lengths_count,
    const int64_t *class_targets, size_t class_targets_count,
    const float *value_targets, size_t value_targets_count,
    rnn_state *state, rnn_step_report *out_report);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_trainer_evaluate_f64(
    rnn_trainer *trainer, size_t T, size_t N,
    const double *input, size_t input_count,
    const int64_t *tokens, size_t tokens_count,
    const int64_t *lengths, size_t lengths_count,
    const int64_t *class_targets, size_t class_targets_count,
    const double *value_targets, size_t value_targets_count,
    rnn_state *state, rnn_step_report *out_report);

/** Copies out the gradients of the last update, after clipping, as one array of all parameters. @since 0.1 */
RNN_CHECKED rnn_status rnn_trainer_gradients(rnn_trainer *trainer, float *out_gradients, size_t gradients_count);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_trainer_gradients_f64(rnn_trainer *trainer, double *out_gradients, size_t gradients_count);

/**
 * Copies out the gradient flow of the last update into the arrays of `flow` that are not NULL; T is that of the update's window
 * (out_T, may be NULL), so that counts must be at least layer_directions * T and so on. hidden_clip is not read.
 * RNN_ERROR_UNSUPPORTED: the trainer was made without gradient_flow. RNN_ERROR_NOT_FOUND: no update yet.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_trainer_flow(rnn_trainer *trainer, const rnn_backward_options *flow, size_t *out_T);

/** Makes a network of the present weights, with the metadata of the trainer's network. @since 0.1 */
RNN_CHECKED rnn_status rnn_trainer_snapshot(rnn_trainer *trainer, rnn_network **out_network);

/**
 * Gives the network the trainer's present weights: rnn_network_parameter_set of all of them. Cheap enough for every step: one copy, into
 * the memory of weights that it replaced before and that nothing uses any more.
 *
 * @param network  With the parameters of the trainer's network, which it mostly is.
 * @return RNN_ERROR_SHAPE, RNN_ERROR_DTYPE: another network; RNN_ERROR_OUT_OF_MEMORY. The network is then as before.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_trainer_update_network(rnn_trainer *trainer, rnn_network *network);

/** Changes the learning rate, for a schedule. @since 0.1 */
RNN_CHECKED rnn_status rnn_trainer_learning_rate_set(rnn_trainer *trainer, double learning_rate);

/** Frees a trainer. @since 0.1 */
RNN_API void rnn_trainer_destroy(rnn_trainer *trainer);

/* ===================================================================================== 9. Sampling */

typedef struct rnn_sample_options {
  size_t struct_size;
  /** Divides the logits; 0 means 1. Use rnn_sample_options.greedy for the limit 0. */
  double temperature;
  /** Only the k most likely; 0 means all. */
  size_t top_k;
  /** Nucleus: only the most likely whose probabilities add up to this; 0 means 1. */
  double top_p;
  /** 1: the most likely, of equals the first. */
  int32_t greedy;
  int32_t reserved;
  /** The draw is a function of (seed, position): the same everywhere. */
  uint64_t seed;
  uint64_t position;
} rnn_sample_options;
#define RNN_SAMPLE_OPTIONS_INIT { sizeof(rnn_sample_options), 0.0, 0, 0.0, 0, 0, 0, 0 }

/**
 * Draws a token from the softmax of logits. Equal logits are ordered by their index.
 *
 * @param logits     [logits_count], not NaN and not all -infinity.
 * @param out_token  Receives an index.
 * @return RNN_ERROR_INVALID_ARGUMENT: no logits, NaN, an option out of range. Thread-safe.
 * @since 0.1
 */
RNN_CHECKED rnn_status rnn_logits_sample(
    const float *logits, size_t logits_count, const rnn_sample_options *options, int64_t *out_token);
/** The same in double. @since 0.1 */
RNN_CHECKED rnn_status rnn_logits_sample_f64(
    const double *logits, size_t logits_count, const rnn_sample_options *options, int64_t *out_token);

#ifdef __cplusplus
}
#endif
#endif /* RNN_H */
