/*
 * rnn.hpp: librnn for C++17 and later. Classes over rnn.h, header only.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * rnn.h is the manual: equations, shapes, errors. This file says what C++ adds.
 *
 *     rnn::Builder builder;
 *     rnn::RecurrentOptions lstm;
 *     lstm.cell = rnn::Cell::lstm;
 *     lstm.hidden_size = 64;
 *     builder.add_input("x", 8).add_recurrent("lstm", nullptr, lstm).add_linear("y", nullptr, 2);
 *     rnn::Network network = builder.build();
 *     std::vector<float> y = network.run(rnn::Batch<float>{T, N, x});
 *
 * What holds for all of it:
 *   - Ownership: Network, Builder, State, Tape, Stream, Optimizer and Trainer own one object of the library. They can be
 *     moved, not copied. One that was moved from is empty: get() is nullptr, and each call throws RNN_ERROR_INVALID_HANDLE.
 *     They may be destroyed in any order.
 *   - Errors: a call that fails throws rnn::Error, with the status and the message of rnn.h, and has changed nothing.
 *     Functions with try_ in their name do not throw: they are noexcept and return the status. The library calls nothing
 *     of its caller, so no exception goes through C. std::bad_alloc comes from this file's own vectors.
 *   - Arrays are rnn::span: anything with data() and size(), such as std::vector, std::array, std::span, or a C array.
 *     An empty one is an array that is not wanted. A result is written to a span of the caller, or returned as a vector.
 *   - float and double: where an array comes in, its type decides. Where none does, it is a template argument, float unless
 *     said otherwise: stream.input<double>(). The wrong one for the network throws RNN_ERROR_DTYPE.
 *   - Options are plain structs, with the defaults of rnn.h: change fields, or in C++20 write {.hidden_size = 64}.
 *     Enumerators are the constants of rnn.h in lower case, with a _ behind where C++ has the word for itself.
 *   - Names and texts: a C string, nullptr where rnn.h allows NULL, or a std::string.
 *   - Threads and real time: as the functions of rnn.h; each class says it. Where a class says nothing about real time, its
 *     functions may allocate, lock or wait.
 *
 * Needs exceptions, but no run-time type information (-fno-rtti). A program may mix files of C++17 and of later standards:
 * every type here is the same in each.
 */
#ifndef RNN_HPP
#define RNN_HPP

#include "rnn.h"

#if defined(_MSVC_LANG) ? _MSVC_LANG < 201703L : __cplusplus < 201703L
#  error "rnn.hpp needs C++17 or later. rnn.h is for C99 and every C++."
#endif
#if !defined(__cpp_exceptions) && !defined(_CPPUNWIND)
#  error "rnn.hpp reports errors by exceptions. Without them use rnn.h, which returns a status."
#endif

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>
#if __cplusplus >= 202002L && __has_include(<span>)
#  include <span>
#endif

namespace rnn {

/* ======================================================================================= 1. Basics */

/**
 * A call failed. what() is the message of rnn.h: the argument, what was expected, what came.
 * @since 0.1
 */
class RNN_API Error : public std::runtime_error {
 public:
  Error(rnn_status status, const std::string &message) : std::runtime_error(message), status_(status) {}
  /** RNN_ERROR_*. */
  rnn_status status() const noexcept { return status_; }
  /** The constant's name, such as "RNN_ERROR_SHAPE". */
  const char *name() const noexcept { return rnn_status_name(status_); }

 private:
  rnn_status status_;
};

/** Throws the Error of a failed call: rnn::check(rnn_threads_set(2)). @since 0.1 */
inline void check(rnn_status status) {
  if (status != RNN_OK) throw Error(status, rnn_last_error_message());
}

/**
 * A pointer and a count of elements: memory of somebody else. std::span, for C++17.
 *
 * Comes from anything with data() and size(), such as std::span, which also comes from it, and from a C array. It owns
 * nothing: what it points to must live as long as it is used.
 * @since 0.1
 */
template <class Element>
class span {
  template <class Other>
  using if_fits = std::enable_if_t<std::is_convertible_v<Other (*)[], Element (*)[]>>;
  template <class Container>
  using element_of = std::remove_pointer_t<decltype(std::data(std::declval<Container &>()))>;

 public:
  using element_type = Element;
  using value_type = std::remove_cv_t<Element>;
  using size_type = std::size_t;
  using pointer = Element *;
  using reference = Element &;
  using iterator = Element *;

  constexpr span() noexcept = default;
  constexpr span(Element *data, std::size_t size) noexcept : data_(data), size_(size) {}
  template <class Container, class = if_fits<element_of<Container>>,
            class = decltype(std::size(std::declval<Container &>()))>
  constexpr span(Container &container) : data_(std::data(container)), size_(std::size(container)) {}
  template <class Container, class = if_fits<element_of<const Container>>,
            class = decltype(std::size(std::declval<const Container &>()))>
  constexpr span(const Container &container) : data_(std::data(container)), size_(std::size(container)) {}

  constexpr Element *data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr bool empty() const noexcept { return size_ == 0; }
  /** Not checked. */
  constexpr Element &operator[](std::size_t index) const noexcept { return data_[index]; }
  constexpr Element *begin() const noexcept { return data_; }
  constexpr Element *end() const noexcept { return data_ + size_; }
  /** `count` elements from `offset` on. Not checked. */
  constexpr span subspan(std::size_t offset, std::size_t count) const noexcept { return span(data_ + offset, count); }

 private:
  Element *data_ = nullptr;
  std::size_t size_ = 0;
};

/**
 * A text argument: a C string, nullptr, or a std::string, which may have no 0 inside (RNN_ERROR_INVALID_ARGUMENT).
 * Only for arguments: it points to the caller's text.
 * @since 0.1
 */
class Text {
 public:
  constexpr Text(std::nullptr_t) noexcept {}
  constexpr Text(const char *text) noexcept : text_(text) {}
  Text(const std::string &text) : text_(text.c_str()) {
    if (text.find('\0') != std::string::npos)
      throw Error(RNN_ERROR_INVALID_ARGUMENT, "a text has a 0 inside, which would end it");
  }
  constexpr const char *c_str() const noexcept { return text_; }

 private:
  const char *text_ = nullptr;
};

/** RNN_DTYPE_*: element type of a network, fixed when it is made. */
enum class DataType : std::int32_t { float32 = RNN_DTYPE_FLOAT32, float64 = RNN_DTYPE_FLOAT64 };

/** DataType::float32 for float, float64 for double. */
template <class Scalar>
inline constexpr DataType data_type = std::is_same_v<Scalar, double> ? DataType::float64 : DataType::float32;

/** The version of the library that runs, "major.minor.patch". Thread-safe, real-time safe. @since 0.1 */
inline const char *version() noexcept { return rnn_version(); }
/** RNN_VERSION_NUMBER of the library that runs. Thread-safe, real-time safe. @since 0.1 */
inline std::uint32_t version_number() noexcept { return rnn_version_number(); }
/** "x86-64-v4", "x86-64-v3" or "baseline". Thread-safe. @since 0.1 */
inline const char *kernels_name() noexcept { return rnn_kernels_name(); }
/** "none", or what OpenBLAS says of itself. Thread-safe. @since 0.1 */
inline const char *blas_name() noexcept { return rnn_blas_name(); }
/** "none" or "openblas", for large matrix products of the whole process. Thread-safe. @since 0.1 */
inline void set_blas(Text name) { check(rnn_blas_set(name.c_str())); }
/** The most threads that one call may use. Thread-safe. @since 0.1 */
inline std::size_t threads() noexcept { return rnn_threads_get(); }
/** Sets it, for the whole process. Thread-safe. @since 0.1 */
inline void set_threads(std::size_t count) { check(rnn_threads_set(count)); }

namespace detail {

/** What the functions of a class have in common: an object of the library, and nobody else's. */
template <class Object, void (*destroy)(Object *)>
class Handle {
 public:
  Handle(Handle &&other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Handle &operator=(Handle &&other) noexcept {
    if (this != &other) {
      destroy(object_);
      object_ = std::exchange(other.object_, nullptr);
    }
    return *this;
  }
  Handle(const Handle &) = delete;
  Handle &operator=(const Handle &) = delete;

  /** The object, for functions of rnn.h; nullptr if this is empty. */
  Object *get() const noexcept { return object_; }
  /** Whether there is an object. */
  explicit operator bool() const noexcept { return object_ != nullptr; }

 protected:
  Handle() noexcept = default;
  explicit Handle(Object *object) noexcept : object_(object) {}
  ~Handle() { destroy(object_); }
  Object **out() noexcept { return &object_; }
  Object *give_up() noexcept { return std::exchange(object_, nullptr); }

 private:
  Object *object_ = nullptr;
};

/** What is not wanted is NULL with count 0, also where an empty vector has memory. */
template <class Element>
constexpr Element *data(span<Element> array) noexcept {
  return array.empty() ? nullptr : array.data();
}

/** Makes an argument's type follow from the other arguments alone. */
template <class Type>
struct Same {
  using type = Type;
};
template <class Type>
using same = typename Same<Type>::type;

/** Sizes multiplied; more than memory can have is an error and not a small number. */
inline std::size_t product(std::initializer_list<std::size_t> sizes) {
  std::size_t result = 1;
  for (const std::size_t size : sizes) {
    if (size != 0 && result > std::numeric_limits<std::ptrdiff_t>::max() / size)
      throw Error(RNN_ERROR_OUT_OF_MEMORY, "the product of the sizes is too large");
    result *= size;
  }
  return result;
}

/** A text of the library, by a function (char *buffer, size_t capacity, size_t *out_length) -> rnn_status. */
template <class Copy>
std::string text(Copy copy) {
  std::size_t length = 0;
  check(copy(static_cast<char *>(nullptr), std::size_t(0), &length));
  for (;;) {
    std::string result(length + 1, '\0');
    const std::size_t capacity = length + 1;
    const rnn_status status = copy(result.data(), capacity, &length);
    // Another thread may have put a longer text there in between.
    if (status == RNN_ERROR_BUFFER_TOO_SMALL && length >= capacity) continue;
    check(status);
    result.resize(length);
    return result;
  }
}

/** The functions of rnn.h for one element type. */
template <class Scalar>
struct Functions;

template <>
struct Functions<float> {
  static constexpr auto run = rnn_network_run;
  static constexpr auto run_arrays = rnn_network_run_arrays;
  static constexpr auto forward_train = rnn_network_forward_train;
  static constexpr auto backward = rnn_network_backward;
  static constexpr auto stream_input = rnn_stream_input;
  static constexpr auto stream_output = rnn_stream_output;
  static constexpr auto stream_process = rnn_stream_process;
  static constexpr auto trainer_step = rnn_trainer_step;
  static constexpr auto trainer_evaluate = rnn_trainer_evaluate;
  static constexpr auto trainer_gradients = rnn_trainer_gradients;
};

template <>
struct Functions<double> {
  static constexpr auto run = rnn_network_run_f64;
  static constexpr auto run_arrays = rnn_network_run_arrays_f64;
  static constexpr auto forward_train = rnn_network_forward_train_f64;
  static constexpr auto backward = rnn_network_backward_f64;
  static constexpr auto stream_input = rnn_stream_input_f64;
  static constexpr auto stream_output = rnn_stream_output_f64;
  static constexpr auto stream_process = rnn_stream_process_f64;
  static constexpr auto trainer_step = rnn_trainer_step_f64;
  static constexpr auto trainer_evaluate = rnn_trainer_evaluate_f64;
  static constexpr auto trainer_gradients = rnn_trainer_gradients_f64;
};

}  // namespace detail

/*
 * 2. Cell math has no classes: call rnn_lstm_forward and its neighbours, inside rnn::check.
 */

/* ====================================================================================== 3. Builder */

class Network;

/** RNN_CELL_*. */
enum class Cell : std::int32_t { vanilla = RNN_CELL_VANILLA, gru = RNN_CELL_GRU, lstm = RNN_CELL_LSTM };
/** RNN_NONLINEARITY_*, of the vanilla cell. */
enum class Nonlinearity : std::int32_t { tanh = RNN_NONLINEARITY_TANH, relu = RNN_NONLINEARITY_RELU };
/** RNN_GRU_*. */
enum class GruVariant : std::int32_t { reset_before = RNN_GRU_RESET_BEFORE, reset_after = RNN_GRU_RESET_AFTER };
/** RNN_BIAS_*. */
enum class Bias : std::int32_t {
  default_ = RNN_BIAS_DEFAULT, none = RNN_BIAS_NONE, single = RNN_BIAS_SINGLE, double_ = RNN_BIAS_DOUBLE
};
/** RNN_MERGE_*: how two directions become one output. */
enum class Merge : std::int32_t {
  concat = RNN_MERGE_CONCAT, sum = RNN_MERGE_SUM, mean = RNN_MERGE_MEAN, product = RNN_MERGE_PRODUCT
};
/** RNN_ACTIVATION_*, of gates and of nodes. */
enum class Activation : std::int32_t {
  default_ = RNN_ACTIVATION_DEFAULT,
  sigmoid = RNN_ACTIVATION_SIGMOID,
  hard_sigmoid = RNN_ACTIVATION_HARD_SIGMOID,
  tanh = RNN_ACTIVATION_TANH,
  relu = RNN_ACTIVATION_RELU,
  leaky_relu = RNN_ACTIVATION_LEAKY_RELU,
  thresholded_relu = RNN_ACTIVATION_THRESHOLDED_RELU,
  scaled_tanh = RNN_ACTIVATION_SCALED_TANH,
  elu = RNN_ACTIVATION_ELU,
  softsign = RNN_ACTIVATION_SOFTSIGN,
  softplus = RNN_ACTIVATION_SOFTPLUS,
  affine = RNN_ACTIVATION_AFFINE
};
/** RNN_INITIALIZATION_*. */
enum class Initialization : std::int32_t {
  pytorch = RNN_INITIALIZATION_PYTORCH,
  normal = RNN_INITIALIZATION_NORMAL,
  orthogonal = RNN_INITIALIZATION_ORTHOGONAL,
  zeros = RNN_INITIALIZATION_ZEROS
};

/** The activation of one gate, with its numbers. */
struct GateActivation {
  Activation function;
  double alpha;
  double beta;
  constexpr GateActivation(Activation f = Activation::default_, double a = 0, double b = 0) noexcept
      : function(f), alpha(a), beta(b) {}
};

/** rnn_recurrent_options; hidden_size is required. */
struct RecurrentOptions {
  std::size_t hidden_size = 0;
  /** 0 means 1. */
  std::size_t num_layers = 0;
  Cell cell = Cell::vanilla;
  Nonlinearity nonlinearity = Nonlinearity::tanh;
  GruVariant gru_variant = GruVariant::reset_before;
  Bias bias = Bias::default_;
  bool bidirectional = false;
  /** Between layers. */
  double dropout = 0;
  bool reverse = false;
  Merge merge = Merge::concat;
  /** 0 means hidden_size. */
  std::size_t hidden_size_reverse = 0;
  /** 0: no projection. */
  std::size_t proj_size = 0;
  bool residual = false;
  bool learned_initial_state = false;
  bool peepholes = false;
  bool coupled_gates = false;
  /** 0: no limit. */
  double cell_clip = 0;
  /** 0: no limit. */
  double gate_clip = 0;
  bool gate_clip_output = false;
  double forget_bias = 0;
  double recurrent_dropout = 0;
  /** [direction][slot]: LSTM i, f, g, o, h; GRU r, z, n; vanilla h. */
  std::array<std::array<GateActivation, RNN_ACTIVATION_SLOTS>, 2> activations{};

  rnn_recurrent_options c() const noexcept {
    rnn_recurrent_options options = RNN_RECURRENT_OPTIONS_INIT;
    options.hidden_size = hidden_size;
    options.num_layers = num_layers;
    options.cell = static_cast<std::int32_t>(cell);
    options.nonlinearity = static_cast<std::int32_t>(nonlinearity);
    options.gru_variant = static_cast<std::int32_t>(gru_variant);
    options.bias = static_cast<std::int32_t>(bias);
    options.bidirectional = bidirectional;
    options.dropout = dropout;
    options.reverse = reverse;
    options.merge = static_cast<std::int32_t>(merge);
    options.hidden_size_reverse = hidden_size_reverse;
    options.proj_size = proj_size;
    options.residual = residual;
    options.learned_initial_state = learned_initial_state;
    options.peepholes = peepholes;
    options.coupled_gates = coupled_gates;
    options.cell_clip = cell_clip;
    options.gate_clip = gate_clip;
    options.gate_clip_output = gate_clip_output;
    options.forget_bias = forget_bias;
    options.recurrent_dropout = recurrent_dropout;
    for (std::size_t direction = 0; direction < 2; direction++)
      for (std::size_t slot = 0; slot < RNN_ACTIVATION_SLOTS; slot++) {
        const GateActivation &gate = activations[direction][slot];
        options.activations[direction][slot] = static_cast<std::int32_t>(gate.function);
        options.activation_alpha[direction][slot] = gate.alpha;
        options.activation_beta[direction][slot] = gate.beta;
      }
    return options;
  }
};

/** rnn_builder_options. */
struct BuilderOptions {
  DataType dtype = DataType::float32;

  rnn_builder_options c() const noexcept {
    rnn_builder_options options = RNN_BUILDER_OPTIONS_INIT;
    options.dtype = static_cast<std::int32_t>(dtype);
    return options;
  }
};

/** rnn_build_options. */
struct BuildOptions {
  std::uint64_t seed = 0;
  Initialization initialization = Initialization::pytorch;
  double forget_bias = 0;
  /** Of Initialization::normal; 0 means 0.01. */
  double deviation = 0;

  rnn_build_options c() const noexcept {
    rnn_build_options options = RNN_BUILD_OPTIONS_INIT;
    options.seed = seed;
    options.initialization = static_cast<std::int32_t>(initialization);
    options.forget_bias = forget_bias;
    options.deviation = deviation;
    return options;
  }
};

/**
 * The list of nodes that a network is built from.
 *
 * Each add_ takes the node's name (nullptr: its position) and the node that it reads (nullptr: the one before), and returns the
 * builder. One that fails leaves the builder as it was.
 *
 * Threads: one at a time; a call that finds the builder in use throws RNN_ERROR_BUSY. @since 0.1
 */
class Builder : public detail::Handle<rnn_builder, rnn_builder_destroy> {
 public:
  explicit Builder(const BuilderOptions &options = {}) {
    const rnn_builder_options o = options.c();
    check(rnn_builder_create(&o, out()));
  }
  explicit Builder(DataType dtype) : Builder(BuilderOptions{dtype}) {}
  /** Takes over an object of rnn.h. */
  explicit Builder(rnn_builder *builder) noexcept : Handle(builder) {}
  /** Gives up the object: the caller destroys it. */
  rnn_builder *release() noexcept { return give_up(); }

  Builder &add_input(Text name, std::size_t size) { return added(rnn_builder_add_input(get(), name.c_str(), size)); }
  Builder &add_token_input(Text name) { return added(rnn_builder_add_token_input(get(), name.c_str())); }
  Builder &add_embedding(Text name, Text input, std::size_t vocabulary_size, std::size_t embedding_size) {
    return added(rnn_builder_add_embedding(get(), name.c_str(), input.c_str(), vocabulary_size, embedding_size));
  }
  Builder &add_one_hot(Text name, Text input, std::size_t size) {
    return added(rnn_builder_add_one_hot(get(), name.c_str(), input.c_str(), size));
  }
  Builder &add_recurrent(Text name, Text input, const RecurrentOptions &options) {
    const rnn_recurrent_options o = options.c();
    return added(rnn_builder_add_recurrent(get(), name.c_str(), input.c_str(), &o));
  }
  Builder &add_linear(Text name, Text input, std::size_t output_size, bool bias = true) {
    return added(rnn_builder_add_linear(get(), name.c_str(), input.c_str(), output_size, bias));
  }
  Builder &add_last_step(Text name, Text input) {
    return added(rnn_builder_add_last_step(get(), name.c_str(), input.c_str()));
  }
  Builder &add_first_step(Text name, Text input) {
    return added(rnn_builder_add_first_step(get(), name.c_str(), input.c_str()));
  }
  Builder &add_reverse(Text name, Text input) {
    return added(rnn_builder_add_reverse(get(), name.c_str(), input.c_str()));
  }
  Builder &add_dropout(Text name, Text input, double probability) {
    return added(rnn_builder_add_dropout(get(), name.c_str(), input.c_str(), probability));
  }
  Builder &add_activation(Text name, Text input, Activation activation, double alpha = 0, double beta = 0) {
    return added(rnn_builder_add_activation(
        get(), name.c_str(), input.c_str(), static_cast<std::int32_t>(activation), alpha, beta));
  }
  Builder &add_softmax(Text name, Text input, bool log = false) {
    return added(rnn_builder_add_softmax(get(), name.c_str(), input.c_str(), log));
  }
  Builder &add_layer_norm(Text name, Text input, double epsilon = 1e-5) {
    return added(rnn_builder_add_layer_norm(get(), name.c_str(), input.c_str(), epsilon));
  }
  Builder &add_scale_shift(Text name, Text input, bool bias = true) {
    return added(rnn_builder_add_scale_shift(get(), name.c_str(), input.c_str(), bias));
  }
  Builder &add_slice(Text name, Text input, std::size_t begin, std::size_t end) {
    return added(rnn_builder_add_slice(get(), name.c_str(), input.c_str(), begin, end));
  }
  Builder &add_sum(Text name, std::initializer_list<Text> inputs) { return add(rnn_builder_add_sum, name, inputs); }
  Builder &add_sum(Text name, const std::vector<std::string> &inputs) { return add(rnn_builder_add_sum, name, inputs); }
  Builder &add_product(Text name, std::initializer_list<Text> inputs) { return add(rnn_builder_add_product, name, inputs); }
  Builder &add_product(Text name, const std::vector<std::string> &inputs) {
    return add(rnn_builder_add_product, name, inputs);
  }
  Builder &add_concat(Text name, std::initializer_list<Text> inputs) { return add(rnn_builder_add_concat, name, inputs); }
  Builder &add_concat(Text name, const std::vector<std::string> &inputs) {
    return add(rnn_builder_add_concat, name, inputs);
  }

  /** Makes a network of the nodes so far. The builder stays usable. */
  Network build(const BuildOptions &options = {}) const;

 private:
  Builder &added(rnn_status status) {
    check(status);
    return *this;
  }
  template <class Texts>
  Builder &add(rnn_status (*function)(rnn_builder *, const char *, const char *const *, std::size_t), Text name,
               const Texts &inputs) {
    std::vector<const char *> names;
    for (const Text input : inputs) names.push_back(input.c_str());
    return added(function(get(), name.c_str(), names.data(), names.size()));
  }
};

/* ====================================================================================== 4. Network */

/** rnn_load_options. */
struct LoadOptions {
  /** 0 means no limit. */
  std::size_t max_parameters = 0;

  rnn_load_options c() const noexcept {
    rnn_load_options options = RNN_LOAD_OPTIONS_INIT;
    options.max_parameters = max_parameters;
    return options;
  }
};

/** rnn_save_options. */
struct SaveOptions {
  bool no_sync = false;

  rnn_save_options c() const noexcept {
    rnn_save_options options = RNN_SAVE_OPTIONS_INIT;
    options.no_sync = no_sync;
    return options;
  }
};

/** rnn_network_info: the sizes of a network. */
struct NetworkInfo {
  DataType dtype = DataType::float32;
  bool streamable = false;
  bool single_step_output = false;
  std::size_t input_size = 0;
  std::size_t token_count = 0;
  std::size_t output_size = 0;
  std::size_t parameter_count = 0;
  std::size_t parameter_elements = 0;
  std::size_t state_count = 0;
  std::size_t state_elements = 0;
  std::size_t layer_directions = 0;
};

/** rnn_tensor_info: name, place and shape of a parameter, a state or an array of a tape. Its name is a copy. */
struct TensorInfo {
  std::string name;
  std::size_t offset = 0;
  std::size_t element_count = 0;
  std::vector<std::size_t> shape;
};

namespace detail {

/** All tensors that a function (size_t index, rnn_tensor_info *) -> rnn_status tells of. */
template <class Tell>
std::vector<TensorInfo> tensors(Tell tell) {
  std::vector<TensorInfo> result;
  for (;;) {
    rnn_tensor_info info = RNN_TENSOR_INFO_INIT;
    const rnn_status status = tell(result.size(), &info);
    if (status == RNN_ERROR_NOT_FOUND) return result;
    check(status);
    result.push_back(TensorInfo{info.name, info.offset, info.element_count,
                                std::vector<std::size_t>(info.shape, info.shape + info.rank)});
  }
}

/** Elements of the tensor of that name; 0 if there is none. Of all, times `rows`, if the name is nullptr. */
inline std::size_t elements(const std::vector<TensorInfo> &tensors, Text name, std::size_t rows = 1) {
  std::size_t all = 0;
  for (const TensorInfo &tensor : tensors) {
    if (name.c_str() != nullptr && tensor.name == name.c_str()) return product({tensor.element_count, rows});
    all += tensor.element_count;
  }
  return name.c_str() == nullptr ? product({all, rows}) : 0;
}

}  // namespace detail

/**
 * A batch of sequences, as a network reads it: rnn::Batch<float>{T, N, input}. Arrays that the network does not read stay
 * empty. Owns nothing.
 */
template <class Scalar = float>
struct Batch {
  /** Time steps. */
  std::size_t T = 0;
  /** Rows. */
  std::size_t N = 1;
  /** [T, N, input_size]. */
  span<const Scalar> input = {};
  /** [T, N, token_count]. */
  span<const std::int64_t> tokens = {};
  /** [N]; empty: all T. */
  span<const std::int64_t> lengths = {};
};

/** RNN_PADDING_*: what outputs are at steps that a row does not have. */
enum class Padding : std::int32_t { value = RNN_PADDING_VALUE, repeat = RNN_PADDING_REPEAT };

/** rnn_run_options. */
struct RunOptions {
  bool batch_first = false;
  Padding padding = Padding::value;
  double padding_value = 0;
  /** [T, N], 0 where a row leaves a step out; empty: none. */
  span<const std::uint8_t> mask = {};
  bool zero_state_of_empty_rows = false;

  rnn_run_options c() const noexcept {
    rnn_run_options options = RNN_RUN_OPTIONS_INIT;
    options.batch_first = batch_first;
    options.padding = static_cast<std::int32_t>(padding);
    options.padding_value = padding_value;
    options.mask = detail::data(mask);
    options.mask_count = mask.size();
    options.zero_state_of_empty_rows = zero_state_of_empty_rows;
    return options;
  }
};

/** rnn_train_options. */
struct TrainOptions {
  bool batch_first = false;
  Padding padding = Padding::value;
  std::uint64_t dropout_seed = 0;
  std::uint64_t step = 0;
  std::uint64_t first_time = 0;
  double padding_value = 0;
  /** [T, N], 0 where a row leaves a step out; empty: none. */
  span<const std::uint8_t> mask = {};
  bool zero_state_of_empty_rows = false;

  rnn_train_options c() const noexcept {
    rnn_train_options options = RNN_TRAIN_OPTIONS_INIT;
    options.batch_first = batch_first;
    options.padding = static_cast<std::int32_t>(padding);
    options.dropout_seed = dropout_seed;
    options.step = step;
    options.first_time = first_time;
    options.padding_value = padding_value;
    options.mask = detail::data(mask);
    options.mask_count = mask.size();
    options.zero_state_of_empty_rows = zero_state_of_empty_rows;
    return options;
  }
};

/** rnn_backward_options. Arrays that are empty are not computed; GradientFlow has memory for all of them. */
struct BackwardOptions {
  /** [layer_directions, T], as cell_flow, clipped_flow and jacobian_norm. */
  span<double> hidden_flow = {};
  span<double> cell_flow = {};
  span<double> clipped_flow = {};
  /** [layer_directions, T, RNN_FLOW_GATES], as gate_saturation. */
  span<double> gate_mean = {};
  span<double> gate_saturation = {};
  span<double> jacobian_norm = {};
  /** 0: no limit. */
  double hidden_clip = 0;

  rnn_backward_options c() const noexcept {
    rnn_backward_options options = RNN_BACKWARD_OPTIONS_INIT;
    options.hidden_flow = detail::data(hidden_flow);
    options.hidden_flow_count = hidden_flow.size();
    options.cell_flow = detail::data(cell_flow);
    options.cell_flow_count = cell_flow.size();
    options.clipped_flow = detail::data(clipped_flow);
    options.clipped_flow_count = clipped_flow.size();
    options.gate_mean = detail::data(gate_mean);
    options.gate_mean_count = gate_mean.size();
    options.gate_saturation = detail::data(gate_saturation);
    options.gate_saturation_count = gate_saturation.size();
    options.jacobian_norm = detail::data(jacobian_norm);
    options.jacobian_norm_count = jacobian_norm.size();
    options.hidden_clip = hidden_clip;
    return options;
  }
};

/** How the gradient flows back in time: memory for every array of BackwardOptions. @since 0.1 */
struct GradientFlow {
  std::size_t layer_directions = 0;
  std::size_t T = 0;
  /** [layer_directions, T]. */
  std::vector<double> hidden, cell, clipped;
  /** [layer_directions, T, RNN_FLOW_GATES]. */
  std::vector<double> gate_mean, gate_saturation;
  /** [layer_directions, T]. */
  std::vector<double> jacobian_norm;

  GradientFlow() = default;
  /** `rows` is NetworkInfo::layer_directions, `steps` the T of the batch. */
  GradientFlow(std::size_t rows, std::size_t steps)
      : layer_directions(rows), T(steps), hidden(detail::product({rows, steps})), cell(hidden.size()),
        clipped(hidden.size()), gate_mean(detail::product({hidden.size(), RNN_FLOW_GATES})),
        gate_saturation(gate_mean.size()), jacobian_norm(hidden.size()) {}

  /** Options that fill this. It must not be moved or destroyed before they are used. */
  BackwardOptions options(double hidden_clip = 0) {
    return BackwardOptions{hidden, cell, clipped, gate_mean, gate_saturation, jacobian_norm, hidden_clip};
  }
};

/**
 * h and c of every recurrent layer, for N rows; also gradients with respect to them. Made of zeros, or of the network's
 * learned initial state.
 *
 * Threads: one at a time (RNN_ERROR_BUSY). Real time: Stream::try_get_state and try_set_state alone. @since 0.1
 */
class State : public detail::Handle<rnn_state, rnn_state_destroy> {
 public:
  /** For `rows` rows; 0 means 1. */
  explicit State(const Network &network, std::size_t rows = 1);
  State(State &&) noexcept = default;
  State &operator=(State &&other) noexcept {
    if (this != &other) {
      Handle::operator=(std::move(other));
      rows_ = other.rows_;
      arrays_ = std::move(other.arrays_);
    }
    return *this;
  }

  /** A copy. */
  State clone() const {
    State copy;
    check(rnn_state_clone(get(), copy.out()));
    copy.rows_ = rows_;
    copy.arrays_ = arrays_;
    return copy;
  }
  /** Sets everything to what the constructor gave it. */
  void reset() { check(rnn_state_reset(get())); }

  std::size_t rows() const noexcept { return rows_; }
  /** Name and shape of each array, for one row. */
  const std::vector<TensorInfo> &arrays() const noexcept { return arrays_; }

  /** The array of that name, such as "lstm.h" [L*D, N, H]; nullptr: all of them, in order. */
  template <class Scalar = float>
  std::vector<Scalar> read(Text name = nullptr) const {
    std::vector<Scalar> values(detail::elements(arrays_, name, rows_));
    read(name, span<Scalar>(values));
    return values;
  }
  void read(Text name, span<float> values) const {
    check(rnn_state_read(get(), name.c_str(), values.data(), values.size()));
  }
  void read(Text name, span<double> values) const {
    check(rnn_state_read_f64(get(), name.c_str(), values.data(), values.size()));
  }
  /** Replaces an array (nullptr: all). The count must be exact. */
  void write(Text name, span<const float> values) {
    check(rnn_state_write(get(), name.c_str(), values.data(), values.size()));
  }
  void write(Text name, span<const double> values) {
    check(rnn_state_write_f64(get(), name.c_str(), values.data(), values.size()));
  }

 private:
  State() noexcept = default;

  std::size_t rows_ = 1;
  std::vector<TensorInfo> arrays_;
};

/**
 * What Network::forward_train kept for the backward pass: h, c and gates of every step can be read from it.
 *
 * Threads: one at a time (RNN_ERROR_BUSY). @since 0.1
 */
class Tape : public detail::Handle<rnn_tape, rnn_tape_destroy> {
 public:
  std::size_t steps() const noexcept { return steps_; }
  std::size_t rows() const noexcept { return rows_; }
  /** Name and shape of each array that can be read: "lstm.h_l0" [T, N, H], "lstm.gates_l0" [T, N, G, H], …. */
  std::vector<TensorInfo> arrays() const {
    return detail::tensors([&](std::size_t index, rnn_tensor_info *info) { return rnn_tape_tensor_info(get(), index, info); });
  }
  template <class Scalar = float>
  std::vector<Scalar> read(Text name) const {
    std::vector<Scalar> values(name.c_str() == nullptr ? 0 : detail::elements(arrays(), name));
    read(name, span<Scalar>(values));
    return values;
  }
  void read(Text name, span<float> values) const { check(rnn_tape_read(get(), name.c_str(), values.data(), values.size())); }
  void read(Text name, span<double> values) const {
    check(rnn_tape_read_f64(get(), name.c_str(), values.data(), values.size()));
  }

 private:
  friend class Network;
  Tape(std::size_t steps, std::size_t rows) noexcept : steps_(steps), rows_(rows) {}

  std::size_t steps_, rows_;
};

/** What Network::forward_train returns: the output, and a tape for Network::backward. */
template <class Scalar>
struct ForwardPass {
  std::vector<Scalar> output;
  Tape tape;
};

/** What Network::backward returns. */
template <class Scalar>
struct Gradients {
  /** ∂L/∂input, as the input; empty if there is none. */
  std::vector<Scalar> input;
  /** ∂L/∂parameters, in the order of Network::parameters. */
  std::vector<Scalar> parameters;
};

/**
 * A network: architecture and weights.
 *
 * Threads: all functions are thread-safe, also those that are not const: any threads may call at once. (Move and
 * destruction are as of any C++ object.) States and tapes belong to one thread at a time.
 * Real time: use a Stream. @since 0.1
 */
class Network : public detail::Handle<rnn_network, rnn_network_destroy> {
 public:
  /** Takes over an object of rnn.h. */
  explicit Network(rnn_network *network) noexcept : Handle(network) {}
  /** Gives up the object: the caller destroys it. */
  rnn_network *release() noexcept { return give_up(); }

  /** Loads a model file. RNN_ERROR_IO, RNN_ERROR_FORMAT, RNN_ERROR_UNSUPPORTED. */
  static Network load(Text path, const LoadOptions &options = {}) {
    Network network;
    const rnn_load_options o = options.c();
    check(rnn_network_load(path.c_str(), &o, network.out()));
    return network;
  }
  /** Loads a model file from memory. */
  static Network load_memory(span<const std::uint8_t> bytes, const LoadOptions &options = {}) {
    Network network;
    const rnn_load_options o = options.c();
    check(rnn_network_load_memory(bytes.data(), bytes.size(), &o, network.out()));
    return network;
  }
  /** Writes a model file, atomically. RNN_ERROR_IO. */
  void save(Text path, const SaveOptions &options = {}) const {
    const rnn_save_options o = options.c();
    check(rnn_network_save(get(), path.c_str(), &o));
  }

  NetworkInfo info() const {
    rnn_network_info info = RNN_NETWORK_INFO_INIT;
    check(rnn_network_describe(get(), &info));
    NetworkInfo result;
    result.dtype = static_cast<DataType>(info.dtype);
    result.streamable = info.streamable != 0;
    result.single_step_output = info.single_step_output != 0;
    result.input_size = info.input_size;
    result.token_count = info.token_count;
    result.output_size = info.output_size;
    result.parameter_count = info.parameter_count;
    result.parameter_elements = info.parameter_elements;
    result.state_count = info.state_count;
    result.state_elements = info.state_elements;
    result.layer_directions = info.layer_directions;
    return result;
  }
  /** Name, place and shape of each parameter. */
  std::vector<TensorInfo> parameters() const {
    return detail::tensors(
        [&](std::size_t index, rnn_tensor_info *info) { return rnn_network_parameter_info(get(), index, info); });
  }
  /** Name, place and shape of each state, for one row. */
  std::vector<TensorInfo> states() const {
    return detail::tensors([&](std::size_t index, rnn_tensor_info *info) { return rnn_network_state_info(get(), index, info); });
  }

  /** A parameter; nullptr: all of them, as one array. */
  template <class Scalar = float>
  std::vector<Scalar> parameter(Text name = nullptr) const {
    std::vector<Scalar> values(detail::elements(parameters(), name));
    parameter(name, span<Scalar>(values));
    return values;
  }
  void parameter(Text name, span<float> values) const {
    check(rnn_network_parameter_get(get(), name.c_str(), values.data(), values.size()));
  }
  void parameter(Text name, span<double> values) const {
    check(rnn_network_parameter_get_f64(get(), name.c_str(), values.data(), values.size()));
  }
  /** Replaces a parameter (nullptr: all of them). The count must be exact. Streams see it after a reset. */
  void set_parameter(Text name, span<const float> values) {
    check(rnn_network_parameter_set(get(), name.c_str(), values.data(), values.size()));
  }
  void set_parameter(Text name, span<const double> values) {
    check(rnn_network_parameter_set_f64(get(), name.c_str(), values.data(), values.size()));
  }

  /** The architecture, as the JSON text of the model file. */
  std::string architecture() const {
    return detail::text([&](char *buffer, std::size_t capacity, std::size_t *length) {
      return rnn_network_architecture(get(), buffer, capacity, length);
    });
  }
  /** A metadata entry; nothing if there is none of that key. */
  std::optional<std::string> metadata(Text key) const {
    try {
      return detail::text([&](char *buffer, std::size_t capacity, std::size_t *length) {
        return rnn_network_metadata_get(get(), key.c_str(), buffer, capacity, length);
      });
    } catch (const Error &error) {
      if (error.status() == RNN_ERROR_NOT_FOUND) return std::nullopt;
      throw;
    }
  }
  /** All keys, sorted. */
  std::vector<std::string> metadata_keys() const {
    std::vector<std::string> keys;
    try {
      for (;;)
        keys.push_back(detail::text([&](char *buffer, std::size_t capacity, std::size_t *length) {
          return rnn_network_metadata_key(get(), keys.size(), buffer, capacity, length);
        }));
    } catch (const Error &error) {
      if (error.status() != RNN_ERROR_NOT_FOUND) throw;
    }
    return keys;
  }
  /** Stores a metadata entry; nullptr removes it. */
  void set_metadata(Text key, Text value) { check(rnn_network_metadata_set(get(), key.c_str(), value.c_str())); }

  /**
   * Runs the network; rnn_network_run.
   *
   * @param state  The initial state, replaced by the final one; nullptr: zeros, or the learned initial state.
   * @return [T, N, output_size], or [N, output_size] of a single-step output.
   */
  template <class Scalar>
  std::vector<Scalar> run(const Batch<Scalar> &batch, State *state = nullptr, const RunOptions &options = {}) const {
    const auto call = [&](span<Scalar> output) { return run_status(batch, output, state, options); };
    std::vector<Scalar> output = make_output(batch, call);
    check(call(output));
    return output;
  }
  /** The same, to the caller's memory. */
  template <class Scalar>
  void run(const Batch<Scalar> &batch, detail::same<span<Scalar>> output, State *state = nullptr,
           const RunOptions &options = {}) const {
    check(run_status(batch, output, state, options));
  }
  /**
   * The same with the states as arrays; rnn_network_run_arrays.
   *
   * @param initial_state  [state_elements * N]; empty: zeros, or the learned initial state.
   * @param final_state    The same size, or empty; may be the memory of initial_state.
   */
  template <class Scalar>
  void run_arrays(const Batch<Scalar> &batch, detail::same<span<const Scalar>> initial_state,
                  detail::same<span<Scalar>> output, detail::same<span<Scalar>> final_state,
                  const RunOptions &options = {}) const {
    const rnn_run_options o = options.c();
    check(detail::Functions<Scalar>::run_arrays(
        get(), batch.T, batch.N, detail::data(batch.input), batch.input.size(), detail::data(batch.tokens),
        batch.tokens.size(), detail::data(batch.lengths), batch.lengths.size(), detail::data(initial_state),
        initial_state.size(), detail::data(output), output.size(), detail::data(final_state), final_state.size(), &o));
  }

  /** As run, with dropout, and keeps what backward needs; rnn_network_forward_train. */
  template <class Scalar>
  ForwardPass<Scalar> forward_train(const Batch<Scalar> &batch, State *state = nullptr, const TrainOptions &options = {}) const {
    Tape tape(batch.T, batch.N);
    const auto call = [&](span<Scalar> output) { return forward_status(batch, output, state, options, tape); };
    std::vector<Scalar> output = make_output(batch, call);
    check(call(output));
    return ForwardPass<Scalar>{std::move(output), std::move(tape)};
  }
  /** The same, to the caller's memory. */
  template <class Scalar>
  Tape forward_train(const Batch<Scalar> &batch, detail::same<span<Scalar>> output, State *state = nullptr,
                     const TrainOptions &options = {}) const {
    Tape tape(batch.T, batch.N);
    check(forward_status(batch, output, state, options, tape));
    return tape;
  }

  /**
   * Backpropagation through time; rnn_network_backward.
   *
   * @param output_gradient         ∂L/∂output, as the output of the forward pass.
   * @param final_state_gradient    ∂L/∂(final state); nullptr: zeros.
   * @param initial_state_gradient  Receives ∂L/∂(initial state); may be the same object.
   */
  Gradients<float> backward(Tape &tape, span<const float> output_gradient, const State *final_state_gradient = nullptr,
                            State *initial_state_gradient = nullptr, const BackwardOptions &options = {}) const {
    return gradients<float>(tape, output_gradient, final_state_gradient, initial_state_gradient, options);
  }
  Gradients<double> backward(Tape &tape, span<const double> output_gradient, const State *final_state_gradient = nullptr,
                             State *initial_state_gradient = nullptr, const BackwardOptions &options = {}) const {
    return gradients<double>(tape, output_gradient, final_state_gradient, initial_state_gradient, options);
  }
  /** The same, to the caller's memory; what is not wanted is empty. */
  void backward(Tape &tape, span<const float> output_gradient, span<float> input_gradient, span<float> parameter_gradients,
                const State *final_state_gradient = nullptr, State *initial_state_gradient = nullptr,
                const BackwardOptions &options = {}) const {
    backpropagate<float>(
        tape, output_gradient, input_gradient, parameter_gradients, final_state_gradient, initial_state_gradient, options);
  }
  void backward(Tape &tape, span<const double> output_gradient, span<double> input_gradient,
                span<double> parameter_gradients, const State *final_state_gradient = nullptr,
                State *initial_state_gradient = nullptr, const BackwardOptions &options = {}) const {
    backpropagate<double>(
        tape, output_gradient, input_gradient, parameter_gradients, final_state_gradient, initial_state_gradient, options);
  }

 private:
  friend class Builder;
  friend class Trainer;
  Network() noexcept = default;

  template <class Scalar>
  rnn_status run_status(const Batch<Scalar> &batch, span<Scalar> output, State *state, const RunOptions &options) const {
    const rnn_run_options o = options.c();
    return detail::Functions<Scalar>::run(
        get(), batch.T, batch.N, detail::data(batch.input), batch.input.size(), detail::data(batch.tokens),
        batch.tokens.size(), detail::data(batch.lengths), batch.lengths.size(), state == nullptr ? nullptr : state->get(),
        detail::data(output), output.size(), &o);
  }
  template <class Scalar>
  rnn_status forward_status(const Batch<Scalar> &batch, span<Scalar> output, State *state, const TrainOptions &options,
                            Tape &tape) const {
    const rnn_train_options o = options.c();
    return detail::Functions<Scalar>::forward_train(
        get(), batch.T, batch.N, detail::data(batch.input), batch.input.size(), detail::data(batch.tokens),
        batch.tokens.size(), detail::data(batch.lengths), batch.lengths.size(), state == nullptr ? nullptr : state->get(),
        detail::data(output), output.size(), &o, tape.out());
  }
  /** Memory for the output. Of a batch whose arrays are too short the call fails before a wrong T takes all memory. */
  template <class Scalar, class Call>
  std::vector<Scalar> make_output(const Batch<Scalar> &batch, Call call) const {
    const NetworkInfo info = this->info();
    const std::size_t positions = detail::product({batch.T, batch.N});
    if (info.dtype != data_type<Scalar> || batch.input.size() < detail::product({positions, info.input_size}) ||
        batch.tokens.size() < detail::product({positions, info.token_count}))
      check(call(span<Scalar>()));
    return std::vector<Scalar>(detail::product({info.single_step_output ? batch.N : positions, info.output_size}));
  }
  template <class Scalar>
  void backpropagate(Tape &tape, span<const Scalar> output_gradient, span<Scalar> input_gradient,
                     span<Scalar> parameter_gradients, const State *final_state_gradient, State *initial_state_gradient,
                     const BackwardOptions &options) const {
    const rnn_backward_options o = options.c();
    check(detail::Functions<Scalar>::backward(
        get(), tape.get(), detail::data(output_gradient), output_gradient.size(),
        final_state_gradient == nullptr ? nullptr : final_state_gradient->get(), detail::data(input_gradient),
        input_gradient.size(), initial_state_gradient == nullptr ? nullptr : initial_state_gradient->get(),
        detail::data(parameter_gradients), parameter_gradients.size(), &o));
  }
  template <class Scalar>
  Gradients<Scalar> gradients(Tape &tape, span<const Scalar> output_gradient, const State *final_state_gradient,
                              State *initial_state_gradient, const BackwardOptions &options) const {
    const NetworkInfo info = this->info();
    Gradients<Scalar> result;
    result.input.resize(detail::product({tape.steps(), tape.rows(), info.input_size}));
    result.parameters.resize(info.parameter_elements);
    backpropagate<Scalar>(
        tape, output_gradient, result.input, result.parameters, final_state_gradient, initial_state_gradient, options);
    return result;
  }
};

inline Network Builder::build(const BuildOptions &options) const {
  Network network;
  const rnn_build_options o = options.c();
  check(rnn_builder_build(get(), &o, network.out()));
  return network;
}

inline State::State(const Network &network, std::size_t rows) : rows_(rows == 0 ? 1 : rows), arrays_(network.states()) {
  rnn_state_options options = RNN_STATE_OPTIONS_INIT;
  options.batch_size = rows;
  check(rnn_state_create(network.get(), &options, out()));
}

/* ======================================================================================= 7. Stream */

/** RNN_STORAGE_*. */
enum class Storage : std::int32_t { full = RNN_STORAGE_FULL, bfloat16 = RNN_STORAGE_BFLOAT16 };

/** rnn_stream_options. */
struct StreamOptions {
  /** N; 0 means 1. */
  std::size_t batch_size = 0;
  std::size_t num_threads = 0;
  Storage weight_storage = Storage::full;

  rnn_stream_options c() const noexcept {
    rnn_stream_options options = RNN_STREAM_OPTIONS_INIT;
    options.batch_size = batch_size;
    options.num_threads = num_threads;
    options.weight_storage = static_cast<std::int32_t>(weight_storage);
    return options;
  }
};

/**
 * A network, a state and all memory of a step: one step at a time, for audio callbacks and control loops.
 *
 *     rnn::Stream stream(network);                         // beforehand
 *     const rnn::span<float> x = stream.input(), y = stream.output();
 *     ...
 *     x[0] = sample;                                       // in the callback
 *     if (stream.try_step() == RNN_OK) sample = y[0];
 *
 * Threads: one at a time (RNN_ERROR_BUSY).
 * Real time: try_step, try_process, try_get_state and try_set_state allocate nothing, lock nothing, make no system call
 * and do not throw (one that fails may allocate for its message). step, process, get_state and set_state do the same and throw,
 * which allocates, where those return a status. All else belongs before the callback. @since 0.1
 */
class Stream : public detail::Handle<rnn_stream, rnn_stream_destroy> {
 public:
  explicit Stream(const Network &network, const StreamOptions &options = {})
      : rows_(options.batch_size == 0 ? 1 : options.batch_size), info_(network.info()) {
    const rnn_stream_options o = options.c();
    check(rnn_stream_create(network.get(), &o, out()));
  }

  /** The memory a step reads its features from, [N, input_size]; it does not move while the stream lives. */
  template <class Scalar = float>
  span<Scalar> input() const {
    Scalar *values = nullptr;
    std::size_t count = 0;
    check(detail::Functions<Scalar>::stream_input(get(), &values, &count));
    return span<Scalar>(values, count);
  }
  /** The memory a step writes its result to, [N, output_size]. */
  template <class Scalar = float>
  span<Scalar> output() const {
    Scalar *values = nullptr;
    std::size_t count = 0;
    check(detail::Functions<Scalar>::stream_output(get(), &values, &count));
    return span<Scalar>(values, count);
  }
  /** The memory a step reads its tokens from, [N, token_count]. */
  span<std::int64_t> tokens() const {
    std::int64_t *values = nullptr;
    std::size_t count = 0;
    check(rnn_stream_tokens(get(), &values, &count));
    return span<std::int64_t>(values, count);
  }

  /** One step: reads the bound input and tokens, advances the state, writes the bound output. Real-time safe. */
  [[nodiscard]] rnn_status try_step() noexcept { return rnn_stream_step(get()); }
  void step() { check(rnn_stream_step(get())); }

  /** T steps from and to arrays of the caller, time-major. Real-time safe. */
  [[nodiscard]] rnn_status try_process(
      std::size_t T, span<const float> input, span<float> output, span<const std::int64_t> tokens = {}) noexcept {
    return rnn_stream_process(get(), T, detail::data(input), input.size(), detail::data(tokens), tokens.size(),
                              detail::data(output), output.size());
  }
  [[nodiscard]] rnn_status try_process(
      std::size_t T, span<const double> input, span<double> output, span<const std::int64_t> tokens = {}) noexcept {
    return rnn_stream_process_f64(get(), T, detail::data(input), input.size(), detail::data(tokens), tokens.size(),
                                  detail::data(output), output.size());
  }
  void process(std::size_t T, span<const float> input, span<float> output, span<const std::int64_t> tokens = {}) {
    check(try_process(T, input, output, tokens));
  }
  void process(std::size_t T, span<const double> input, span<double> output, span<const std::int64_t> tokens = {}) {
    check(try_process(T, input, output, tokens));
  }
  /** The output as a vector. Allocates. */
  std::vector<float> process(std::size_t T, span<const float> input, span<const std::int64_t> tokens = {}) {
    return processed<float>(T, input, tokens);
  }
  std::vector<double> process(std::size_t T, span<const double> input, span<const std::int64_t> tokens = {}) {
    return processed<double>(T, input, tokens);
  }

  /** Sets the state to its beginning and takes up the network's present weights. Not real-time safe. */
  void reset() { check(rnn_stream_reset(get())); }
  /** Copies the stream's state to `state`. Real-time safe. */
  [[nodiscard]] rnn_status try_get_state(State &state) const noexcept { return rnn_stream_state_get(get(), state.get()); }
  void get_state(State &state) const { check(try_get_state(state)); }
  /** Copies `state` to the stream's. Real-time safe. */
  [[nodiscard]] rnn_status try_set_state(const State &state) noexcept { return rnn_stream_state_set(get(), state.get()); }
  void set_state(const State &state) { check(try_set_state(state)); }

 private:
  template <class Scalar>
  std::vector<Scalar> processed(std::size_t T, span<const Scalar> input, span<const std::int64_t> tokens) {
    const std::size_t positions = detail::product({T, rows_});
    // Of arrays that are too short the call fails before a wrong T takes all memory.
    if (input.size() < detail::product({positions, info_.input_size}) ||
        tokens.size() < detail::product({positions, info_.token_count}))
      process(T, input, span<Scalar>(), tokens);
    std::vector<Scalar> result(detail::product({positions, info_.output_size}));
    process(T, input, span<Scalar>(result), tokens);
    return result;
  }

  std::size_t rows_;
  NetworkInfo info_;
};

/* ===================================================================================== 8. Training */

/** RNN_REDUCTION_*. */
enum class Reduction : std::int32_t { mean = RNN_REDUCTION_MEAN, sum = RNN_REDUCTION_SUM, none = RNN_REDUCTION_NONE };

/** rnn_cross_entropy_options. */
struct CrossEntropyOptions {
  Reduction reduction = Reduction::mean;
  /** Nothing: -100. */
  std::optional<std::int64_t> ignore_index = {};
  double label_smoothing = 0;

  rnn_cross_entropy_options c() const noexcept {
    rnn_cross_entropy_options options = RNN_CROSS_ENTROPY_OPTIONS_INIT;
    options.reduction = static_cast<std::int32_t>(reduction);
    options.has_ignore_index = ignore_index.has_value();
    options.ignore_index = ignore_index.value_or(0);
    options.label_smoothing = label_smoothing;
    return options;
  }
};

/** rnn_mse_options. */
struct MseOptions {
  Reduction reduction = Reduction::mean;

  rnn_mse_options c() const noexcept {
    rnn_mse_options options = RNN_MSE_OPTIONS_INIT;
    options.reduction = static_cast<std::int32_t>(reduction);
    return options;
  }
};

/** rnn_ctc_options. */
struct CtcOptions {
  Reduction reduction = Reduction::mean;
  bool zero_infinity = false;
  std::int64_t blank = 0;
  bool concatenated = false;

  rnn_ctc_options c() const noexcept {
    rnn_ctc_options options = RNN_CTC_OPTIONS_INIT;
    options.reduction = static_cast<std::int32_t>(reduction);
    options.zero_infinity = zero_infinity;
    options.blank = blank;
    options.concatenated = concatenated;
    return options;
  }
};

/** A loss and its gradient with respect to what it was computed from. */
template <class Scalar>
struct LossAndGradient {
  /** One value; without reduction one for each row (for mse: each element). */
  std::vector<double> values;
  std::vector<Scalar> gradient;
  /** The one value. */
  double value() const { return values.at(0); }
};

/**
 * Softmax cross-entropy of logits [rows, classes] and targets [rows]; rnn_loss_cross_entropy. Thread-safe.
 *
 * @param out_loss      [1], or [rows] without reduction.
 * @param out_gradient  [rows, classes], may be the logits; empty: not wanted.
 * @since 0.1
 */
inline void cross_entropy(std::size_t rows, std::size_t classes, span<const float> logits, span<const std::int64_t> targets,
                          span<double> out_loss, span<float> out_gradient, const CrossEntropyOptions &options = {},
                          span<const float> class_weights = {}) {
  const rnn_cross_entropy_options o = options.c();
  check(rnn_loss_cross_entropy(
      rows, classes, detail::data(logits), logits.size(), detail::data(targets), targets.size(), detail::data(class_weights),
      class_weights.size(), out_loss.data(), out_loss.size(), detail::data(out_gradient), out_gradient.size(), &o));
}
/** The same in double. @since 0.1 */
inline void cross_entropy(std::size_t rows, std::size_t classes, span<const double> logits,
                          span<const std::int64_t> targets, span<double> out_loss, span<double> out_gradient,
                          const CrossEntropyOptions &options = {}, span<const double> class_weights = {}) {
  const rnn_cross_entropy_options o = options.c();
  check(rnn_loss_cross_entropy_f64(
      rows, classes, detail::data(logits), logits.size(), detail::data(targets), targets.size(), detail::data(class_weights),
      class_weights.size(), out_loss.data(), out_loss.size(), detail::data(out_gradient), out_gradient.size(), &o));
}

/** Squared error of prediction and target [count]; rnn_loss_mse. Thread-safe. @since 0.1 */
inline void mse(span<const float> prediction, span<const float> target, span<double> out_loss, span<float> out_gradient,
                const MseOptions &options = {}) {
  const rnn_mse_options o = options.c();
  check(rnn_loss_mse(prediction.size(), detail::data(prediction), prediction.size(), detail::data(target), target.size(),
                     out_loss.data(), out_loss.size(), detail::data(out_gradient), out_gradient.size(), &o));
}
/** The same in double. @since 0.1 */
inline void mse(span<const double> prediction, span<const double> target, span<double> out_loss, span<double> out_gradient,
                const MseOptions &options = {}) {
  const rnn_mse_options o = options.c();
  check(rnn_loss_mse_f64(prediction.size(), detail::data(prediction), prediction.size(), detail::data(target),
                         target.size(), out_loss.data(), out_loss.size(), detail::data(out_gradient), out_gradient.size(),
                         &o));
}

/** The labels of a batch, for connectionist temporal classification. Owns nothing. */
struct Labels {
  /** [N, S], or one row after the other with CtcOptions::concatenated. */
  span<const std::int64_t> targets = {};
  /** The width of `targets`. */
  std::size_t S = 0;
  /** [N], steps of each row; empty: T each. */
  span<const std::int64_t> input_lengths = {};
  /** [N], labels of each row; empty: S each. */
  span<const std::int64_t> target_lengths = {};
};

/**
 * Connectionist temporal classification of logits [T, N, classes]; rnn_loss_ctc. Thread-safe.
 *
 * @param out_loss      [1], or [N] without reduction.
 * @param out_gradient  [T, N, classes], may be the logits; empty: not wanted.
 * @since 0.1
 */
inline void ctc(std::size_t T, std::size_t N, std::size_t classes, span<const float> logits, const Labels &labels,
                span<double> out_loss, span<float> out_gradient, const CtcOptions &options = {}) {
  const rnn_ctc_options o = options.c();
  check(rnn_loss_ctc(T, N, classes, labels.S, detail::data(logits), logits.size(), detail::data(labels.targets),
                     labels.targets.size(), detail::data(labels.input_lengths), labels.input_lengths.size(),
                     detail::data(labels.target_lengths), labels.target_lengths.size(), out_loss.data(), out_loss.size(),
                     detail::data(out_gradient), out_gradient.size(), &o));
}
/** The same in double. @since 0.1 */
inline void ctc(std::size_t T, std::size_t N, std::size_t classes, span<const double> logits, const Labels &labels,
                span<double> out_loss, span<double> out_gradient, const CtcOptions &options = {}) {
  const rnn_ctc_options o = options.c();
  check(rnn_loss_ctc_f64(T, N, classes, labels.S, detail::data(logits), logits.size(), detail::data(labels.targets),
                         labels.targets.size(), detail::data(labels.input_lengths), labels.input_lengths.size(),
                         detail::data(labels.target_lengths), labels.target_lengths.size(), out_loss.data(),
                         out_loss.size(), detail::data(out_gradient), out_gradient.size(), &o));
}

namespace detail {

/** A loss into vectors, of `count` values without reduction. */
template <class Scalar, class Options, class Compute>
LossAndGradient<Scalar> loss(const Options &options, std::size_t count, std::size_t elements, Compute compute) {
  LossAndGradient<Scalar> result;
  result.values.resize(options.reduction == Reduction::none ? count : 1);
  result.gradient.resize(elements);
  compute(span<double>(result.values), span<Scalar>(result.gradient));
  return result;
}

}  // namespace detail

/** Softmax cross-entropy, into vectors. @since 0.1 */
inline LossAndGradient<float> cross_entropy(
    std::size_t rows, std::size_t classes, span<const float> logits, span<const std::int64_t> targets,
    const CrossEntropyOptions &options = {}, span<const float> class_weights = {}) {
  return detail::loss<float>(options, targets.size(), logits.size(), [&](span<double> values, span<float> gradient) {
    cross_entropy(rows, classes, logits, targets, values, gradient, options, class_weights);
  });
}
/** The same in double. @since 0.1 */
inline LossAndGradient<double> cross_entropy(
    std::size_t rows, std::size_t classes, span<const double> logits, span<const std::int64_t> targets,
    const CrossEntropyOptions &options = {}, span<const double> class_weights = {}) {
  return detail::loss<double>(options, targets.size(), logits.size(), [&](span<double> values, span<double> gradient) {
    cross_entropy(rows, classes, logits, targets, values, gradient, options, class_weights);
  });
}

/** Squared error, into vectors. @since 0.1 */
inline LossAndGradient<float> mse(span<const float> prediction, span<const float> target, const MseOptions &options = {}) {
  return detail::loss<float>(options, prediction.size(), prediction.size(), [&](span<double> values, span<float> gradient) {
    mse(prediction, target, values, gradient, options);
  });
}
/** The same in double. @since 0.1 */
inline LossAndGradient<double> mse(
    span<const double> prediction, span<const double> target, const MseOptions &options = {}) {
  return detail::loss<double>(options, prediction.size(), prediction.size(), [&](span<double> values, span<double> gradient) {
    mse(prediction, target, values, gradient, options);
  });
}

/** Connectionist temporal classification, into vectors. @since 0.1 */
inline LossAndGradient<float> ctc(std::size_t T, std::size_t N, std::size_t classes, span<const float> logits,
                                  const Labels &labels, const CtcOptions &options = {}) {
  return detail::loss<float>(options, N, logits.size(), [&](span<double> values, span<float> gradient) {
    ctc(T, N, classes, logits, labels, values, gradient, options);
  });
}
/** The same in double. @since 0.1 */
inline LossAndGradient<double> ctc(std::size_t T, std::size_t N, std::size_t classes, span<const double> logits,
                                   const Labels &labels, const CtcOptions &options = {}) {
  return detail::loss<double>(options, N, logits.size(), [&](span<double> values, span<double> gradient) {
    ctc(T, N, classes, logits, labels, values, gradient, options);
  });
}

/** rnn_clip_report: what clipping found, and did. */
struct ClipReport {
  double total_norm = 0;
  double scale = 0;
  std::size_t largest_index = 0;
  double largest_norm = 0;
  bool non_finite = false;
  /** Where non_finite. */
  std::size_t non_finite_index = 0;
};

namespace detail {

/** One of the functions that clip, on pointers and counts of the tensors. */
template <class Scalar, class Clip>
ClipReport clip(span<const span<Scalar>> tensors, Clip function) {
  std::vector<Scalar *> pointers;
  std::vector<std::size_t> counts;
  for (const span<Scalar> tensor : tensors) {
    pointers.push_back(data(tensor));
    counts.push_back(tensor.size());
  }
  rnn_clip_report report = RNN_CLIP_REPORT_INIT;
  check(function(pointers.data(), counts.data(), counts.size(), &report));
  ClipReport result;
  result.total_norm = report.total_norm;
  result.scale = report.scale;
  result.largest_index = report.largest_index;
  result.largest_norm = report.largest_norm;
  result.non_finite = report.non_finite != 0;
  result.non_finite_index = report.non_finite_index;
  return result;
}

}  // namespace detail

/** Gradients that are clipped together: {weights, bias}, or a vector of spans. For arguments. */
template <class Scalar>
class Tensors {
 public:
  Tensors(std::initializer_list<span<Scalar>> tensors) : tensors_(tensors) {}
  Tensors(std::vector<span<Scalar>> tensors) : tensors_(std::move(tensors)) {}
  operator span<const span<Scalar>>() const noexcept { return tensors_; }

 private:
  std::vector<span<Scalar>> tensors_;
};

/** Clips gradients by the norm of all together, in place; rnn_gradients_clip. Thread-safe. @since 0.1 */
inline ClipReport clip_gradients(const Tensors<float> &tensors, double max_norm, double norm_type = 2) {
  return detail::clip<float>(tensors, [&](auto values, auto counts, auto count, auto report) {
    return rnn_gradients_clip(values, counts, count, max_norm, norm_type, report);
  });
}
/** The same in double. @since 0.1 */
inline ClipReport clip_gradients(const Tensors<double> &tensors, double max_norm, double norm_type = 2) {
  return detail::clip<double>(tensors, [&](auto values, auto counts, auto count, auto report) {
    return rnn_gradients_clip_f64(values, counts, count, max_norm, norm_type, report);
  });
}
/** Clips each tensor by its own norm, in place; rnn_gradients_clip_each. Thread-safe. @since 0.1 */
inline ClipReport clip_gradients_each(const Tensors<float> &tensors, double max_norm, double norm_type = 2) {
  return detail::clip<float>(tensors, [&](auto values, auto counts, auto count, auto report) {
    return rnn_gradients_clip_each(values, counts, count, max_norm, norm_type, report);
  });
}
/** The same in double. @since 0.1 */
inline ClipReport clip_gradients_each(const Tensors<double> &tensors, double max_norm, double norm_type = 2) {
  return detail::clip<double>(tensors, [&](auto values, auto counts, auto count, auto report) {
    return rnn_gradients_clip_each_f64(values, counts, count, max_norm, norm_type, report);
  });
}
/** Clips each element, in place; rnn_gradients_clip_value. Thread-safe. @since 0.1 */
inline ClipReport clip_gradients_value(const Tensors<float> &tensors, double clip_value) {
  return detail::clip<float>(tensors, [&](auto values, auto counts, auto count, auto report) {
    return rnn_gradients_clip_value(values, counts, count, clip_value, report);
  });
}
/** The same in double. @since 0.1 */
inline ClipReport clip_gradients_value(const Tensors<double> &tensors, double clip_value) {
  return detail::clip<double>(tensors, [&](auto values, auto counts, auto count, auto report) {
    return rnn_gradients_clip_value_f64(values, counts, count, clip_value, report);
  });
}

/** RNN_OPTIMIZER_*. */
enum class OptimizerKind : std::int32_t {
  sgd = RNN_OPTIMIZER_SGD, adam = RNN_OPTIMIZER_ADAM, adamw = RNN_OPTIMIZER_ADAMW, rmsprop = RNN_OPTIMIZER_RMSPROP
};

/** rnn_optimizer_options; 0 means the default of the kind. */
struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::sgd;
  double learning_rate = 0;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  double beta1 = 0;
  double beta2 = 0;
  double epsilon = 0;
  double alpha = 0;
  bool nesterov = false;
  bool amsgrad = false;
  bool centered = false;

  rnn_optimizer_options c() const noexcept {
    rnn_optimizer_options options = RNN_OPTIMIZER_OPTIONS_INIT;
    options.kind = static_cast<std::int32_t>(kind);
    options.nesterov = nesterov;
    options.amsgrad = amsgrad;
    options.centered = centered;
    options.learning_rate = learning_rate;
    options.momentum = momentum;
    options.dampening = dampening;
    options.weight_decay = weight_decay;
    options.beta1 = beta1;
    options.beta2 = beta2;
    options.epsilon = epsilon;
    options.alpha = alpha;
    return options;
  }
};

/**
 * An update rule and its memory, for `count` numbers of one type.
 *
 * Threads: one at a time (RNN_ERROR_BUSY). @since 0.1
 */
class Optimizer : public detail::Handle<rnn_optimizer, rnn_optimizer_destroy> {
 public:
  Optimizer(DataType dtype, std::size_t count, const OptimizerOptions &options = {}) {
    const rnn_optimizer_options o = options.c();
    check(rnn_optimizer_create(static_cast<std::int32_t>(dtype), count, &o, out()));
  }
  /** Takes over an object of rnn.h. */
  explicit Optimizer(rnn_optimizer *optimizer) noexcept : Handle(optimizer) {}
  /** Gives up the object: the caller destroys it. */
  rnn_optimizer *release() noexcept { return give_up(); }

  /** One update of the parameters, in place. */
  void step(span<float> parameters, span<const float> gradients) {
    check(rnn_optimizer_step(get(), parameters.data(), parameters.size(), gradients.data(), gradients.size()));
  }
  void step(span<double> parameters, span<const double> gradients) {
    check(rnn_optimizer_step_f64(get(), parameters.data(), parameters.size(), gradients.data(), gradients.size()));
  }
  void set_learning_rate(double learning_rate) { check(rnn_optimizer_learning_rate_set(get(), learning_rate)); }
};

/** RNN_LOSS_*. */
enum class Loss : std::int32_t { cross_entropy = RNN_LOSS_CROSS_ENTROPY, mse = RNN_LOSS_MSE };
/** RNN_CLIP_*. */
enum class ClipMode : std::int32_t {
  global_norm = RNN_CLIP_GLOBAL_NORM, tensor_norm = RNN_CLIP_TENSOR_NORM, value = RNN_CLIP_VALUE
};
/** RNN_NON_FINITE_*: where the first number that is infinite or NaN was found. */
enum class NonFinite : std::int32_t {
  none = RNN_NON_FINITE_NONE,
  forward = RNN_NON_FINITE_FORWARD,
  loss = RNN_NON_FINITE_LOSS,
  backward = RNN_NON_FINITE_BACKWARD,
  gradient = RNN_NON_FINITE_GRADIENT
};

/** rnn_trainer_options. */
struct TrainerOptions {
  Loss loss = Loss::cross_entropy;
  /** Of cross-entropy; nothing: -100. */
  std::optional<std::int64_t> ignore_index = {};
  /** 0: no clipping. */
  double clip_norm = 0;
  ClipMode clip_mode = ClipMode::global_norm;
  /** 0: one update, after the whole sequence. */
  std::size_t update_interval = 0;
  /** 0 means update_interval. */
  std::size_t backward_steps = 0;
  std::uint64_t dropout_seed = 0;
  /** 0: no limit. */
  double hidden_clip = 0;
  /** For Trainer::flow. */
  bool gradient_flow = false;

  rnn_trainer_options c() const noexcept {
    rnn_trainer_options options = RNN_TRAINER_OPTIONS_INIT;
    options.loss = static_cast<std::int32_t>(loss);
    options.has_ignore_index = ignore_index.has_value();
    options.ignore_index = ignore_index.value_or(0);
    options.clip_norm = clip_norm;
    options.update_interval = update_interval;
    options.backward_steps = backward_steps;
    options.dropout_seed = dropout_seed;
    options.hidden_clip = hidden_clip;
    options.clip_mode = static_cast<std::int32_t>(clip_mode);
    options.gradient_flow = gradient_flow;
    return options;
  }
};

/** rnn_step_report: what a step of a trainer did. */
struct StepReport {
  double loss = 0;
  std::size_t terms = 0;
  double gradient_norm = 0;
  double gradient_scale = 0;
  std::size_t largest_parameter = 0;
  std::size_t updates = 0;
  std::size_t skipped = 0;
  NonFinite non_finite = NonFinite::none;
  std::size_t non_finite_layer = 0;
  std::size_t non_finite_step = 0;
  /** SIZE_MAX if all gradients are finite. */
  std::size_t non_finite_parameter = 0;
};

/**
 * A network in training: its own copy of the weights, gradients, an optimizer and all memory of a step.
 *
 * Threads: one at a time (RNN_ERROR_BUSY); different trainers are independent. @since 0.1
 */
class Trainer : public detail::Handle<rnn_trainer, rnn_trainer_destroy> {
 public:
  explicit Trainer(const Network &network, const TrainerOptions &options = {}, const OptimizerOptions &optimizer = {})
      : parameter_elements_(network.info().parameter_elements), layer_directions_(network.info().layer_directions) {
    const rnn_trainer_options o = options.c();
    const rnn_optimizer_options p = optimizer.c();
    check(rnn_trainer_create(network.get(), &o, &p, out()));
  }

  /**
   * One batch: forward, loss, backward, clip, update; rnn_trainer_step.
   *
   * @param class_targets  Cross-entropy: [T, N], or [N] for a single-step output.
   * @param state          Initial state, replaced by the final one; nullptr: zeros.
   */
  template <class Scalar>
  StepReport step(const Batch<Scalar> &batch, span<const std::int64_t> class_targets, State *state = nullptr) {
    return call(detail::Functions<Scalar>::trainer_step, batch, class_targets, {}, state);
  }
  /** The same for squared error: targets in the shape of the output. */
  template <class Scalar>
  StepReport step(const Batch<Scalar> &batch, detail::same<span<const Scalar>> value_targets, State *state = nullptr) {
    return call(detail::Functions<Scalar>::trainer_step, batch, {}, value_targets, state);
  }
  /** The loss alone, without dropout and without an update. */
  template <class Scalar>
  StepReport evaluate(const Batch<Scalar> &batch, span<const std::int64_t> class_targets, State *state = nullptr) {
    return call(detail::Functions<Scalar>::trainer_evaluate, batch, class_targets, {}, state);
  }
  template <class Scalar>
  StepReport evaluate(const Batch<Scalar> &batch, detail::same<span<const Scalar>> value_targets, State *state = nullptr) {
    return call(detail::Functions<Scalar>::trainer_evaluate, batch, {}, value_targets, state);
  }

  /** The gradients of the last update, after clipping, in the order of Network::parameters. */
  template <class Scalar = float>
  std::vector<Scalar> gradients() const {
    std::vector<Scalar> values(parameter_elements_);
    check(detail::Functions<Scalar>::trainer_gradients(get(), values.data(), values.size()));
    return values;
  }
  /** The gradient flow of the last update. RNN_ERROR_UNSUPPORTED without TrainerOptions::gradient_flow. */
  GradientFlow flow() const {
    const rnn_backward_options nothing = RNN_BACKWARD_OPTIONS_INIT;
    std::size_t T = 0;
    check(rnn_trainer_flow(get(), &nothing, &T));
    GradientFlow result(layer_directions_, T);
    const rnn_backward_options o = result.options().c();
    check(rnn_trainer_flow(get(), &o, &T));
    return result;
  }
  /** A network of the present weights. */
  Network snapshot() const {
    Network network;
    check(rnn_trainer_snapshot(get(), network.out()));
    return network;
  }
  /** Gives a network, with the parameters of the trainer's, the present weights. */
  void update_network(Network &network) { check(rnn_trainer_update_network(get(), network.get())); }
  void set_learning_rate(double learning_rate) { check(rnn_trainer_learning_rate_set(get(), learning_rate)); }

 private:
  template <class Function, class Scalar>
  StepReport call(Function function, const Batch<Scalar> &batch, span<const std::int64_t> class_targets,
                  detail::same<span<const Scalar>> value_targets, State *state) {
    rnn_step_report report = RNN_STEP_REPORT_INIT;
    check(function(get(), batch.T, batch.N, detail::data(batch.input), batch.input.size(), detail::data(batch.tokens),
                   batch.tokens.size(), detail::data(batch.lengths), batch.lengths.size(), detail::data(class_targets),
                   class_targets.size(), detail::data(value_targets), value_targets.size(),
                   state == nullptr ? nullptr : state->get(), &report));
    StepReport result;
    result.loss = report.loss;
    result.terms = report.terms;
    result.gradient_norm = report.gradient_norm;
    result.gradient_scale = report.gradient_scale;
    result.largest_parameter = report.largest_parameter;
    result.updates = report.updates;
    result.skipped = report.skipped;
    result.non_finite = static_cast<NonFinite>(report.non_finite);
    result.non_finite_layer = report.non_finite_layer;
    result.non_finite_step = report.non_finite_step;
    result.non_finite_parameter = report.non_finite_parameter;
    return result;
  }

  std::size_t parameter_elements_, layer_directions_;
};

/* ===================================================================================== 9. Sampling */

/** rnn_sample_options. */
struct SampleOptions {
  /** 0 means 1. */
  double temperature = 0;
  /** 0 means all. */
  std::size_t top_k = 0;
  /** 0 means 1. */
  double top_p = 0;
  bool greedy = false;
  std::uint64_t seed = 0;
  std::uint64_t position = 0;

  rnn_sample_options c() const noexcept {
    rnn_sample_options options = RNN_SAMPLE_OPTIONS_INIT;
    options.temperature = temperature;
    options.top_k = top_k;
    options.top_p = top_p;
    options.greedy = greedy;
    options.seed = seed;
    options.position = position;
    return options;
  }
};

/** Draws a token from the softmax of logits; rnn_logits_sample. Thread-safe. @since 0.1 */
inline std::int64_t sample(span<const float> logits, const SampleOptions &options = {}) {
  const rnn_sample_options o = options.c();
  std::int64_t token = 0;
  check(rnn_logits_sample(logits.data(), logits.size(), &o, &token));
  return token;
}
/** The same in double. @since 0.1 */
inline std::int64_t sample(span<const double> logits, const SampleOptions &options = {}) {
  const rnn_sample_options o = options.c();
  std::int64_t token = 0;
  check(rnn_logits_sample_f64(logits.data(), logits.size(), &o, &token));
  return token;
}

}  // namespace rnn

#if defined(__cpp_lib_span)
/** It points to memory of somebody else, so that a std::span may come from a temporary one. */
template <class Element>
inline constexpr bool std::ranges::enable_borrowed_range<rnn::span<Element>> = true;
#endif

#endif /* RNN_HPP */
