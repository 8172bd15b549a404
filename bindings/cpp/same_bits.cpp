// Every function of rnn.hpp gives the bits of the functions of rnn.h that it stands for, in float and in double.
#include "check.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

namespace {

constexpr std::size_t T = 5, N = 3, I = 4, H = 6, O = 3, VOCABULARY = 7;
const std::vector<std::int64_t> lengths = {5, 2, 0};
const std::vector<std::uint8_t> mask = {1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1};  // [T, N]

template <class Scalar, class Single, class Double>
constexpr auto pick(Single single, Double twice) {
  if constexpr (std::is_same_v<Scalar, float>) return single;
  else return twice;
}
/** The function of rnn.h for Scalar. */
#define C(function) pick<Scalar>(function, function##_f64)

rnn::RecurrentOptions lstm_options() {
  rnn::RecurrentOptions lstm;
  lstm.cell = rnn::Cell::lstm;
  lstm.hidden_size = H;
  lstm.num_layers = 2;
  lstm.bias = rnn::Bias::double_;
  lstm.dropout = 0.25;
  lstm.recurrent_dropout = 0.125;
  lstm.proj_size = 4;
  lstm.residual = true;
  lstm.peepholes = true;
  lstm.cell_clip = 3;
  lstm.gate_clip = 4;
  lstm.forget_bias = 0.5;
  lstm.learned_initial_state = true;
  lstm.activations[0][2] = rnn::Activation::softsign;
  lstm.activations[0][1] = {rnn::Activation::hard_sigmoid, 0.2, 0.5};
  return lstm;
}

/** Every kind of node, by the classes. */
template <class Scalar>
rnn::Network build() {
  rnn::Builder builder(rnn::data_type<Scalar>);
  rnn::BuildOptions weights;
  weights.seed = 5;
  weights.initialization = rnn::Initialization::orthogonal;
  weights.forget_bias = 1;
  return builder.add_input("x", I)
      .add_token_input("t")
      .add_embedding("e", "t", VOCABULARY, I)
      .add_one_hot("o", "t", VOCABULARY)
      .add_sum("xe", {"x", "e"})
      .add_concat("c", std::vector<std::string>{"xe", "o"})
      .add_slice("s", "c", 1, I + 3)
      .add_layer_norm("n", nullptr)
      .add_scale_shift("k", nullptr, false)
      .add_recurrent("lstm", nullptr, lstm_options())
      .add_dropout("d", nullptr, 0.5)
      .add_activation("a", nullptr, rnn::Activation::leaky_relu, 0.125)
      .add_product("p", {"a", "lstm"})
      .add_linear("y", nullptr, O)
      .build(weights);
}

/** The same, by the functions. */
template <class Scalar>
rnn_network *build_in_c() {
  rnn_builder *builder = nullptr;
  rnn_network *network = nullptr;
  rnn_builder_options options = RNN_BUILDER_OPTIONS_INIT;
  options.dtype = std::is_same_v<Scalar, float> ? RNN_DTYPE_FLOAT32 : RNN_DTYPE_FLOAT64;
  rnn_recurrent_options lstm = RNN_RECURRENT_OPTIONS_INIT;
  lstm.cell = RNN_CELL_LSTM;
  lstm.hidden_size = H;
  lstm.num_layers = 2;
  lstm.bias = RNN_BIAS_DOUBLE;
  lstm.dropout = 0.25;
  lstm.recurrent_dropout = 0.125;
  lstm.proj_size = 4;
  lstm.residual = 1;
  lstm.peepholes = 1;
  lstm.cell_clip = 3;
  lstm.gate_clip = 4;
  lstm.forget_bias = 0.5;
  lstm.learned_initial_state = 1;
  lstm.activations[0][2] = RNN_ACTIVATION_SOFTSIGN;
  lstm.activations[0][1] = RNN_ACTIVATION_HARD_SIGMOID;
  lstm.activation_alpha[0][1] = 0.2;
  lstm.activation_beta[0][1] = 0.5;
  rnn_build_options weights = RNN_BUILD_OPTIONS_INIT;
  weights.seed = 5;
  weights.initialization = RNN_INITIALIZATION_ORTHOGONAL;
  weights.forget_bias = 1;
  const char *const summed[] = {"x", "e"}, *const joined[] = {"xe", "o"}, *const multiplied[] = {"a", "lstm"};
  MUST(rnn_builder_create(&options, &builder));
  MUST(rnn_builder_add_input(builder, "x", I));
  MUST(rnn_builder_add_token_input(builder, "t"));
  MUST(rnn_builder_add_embedding(builder, "e", "t", VOCABULARY, I));
  MUST(rnn_builder_add_one_hot(builder, "o", "t", VOCABULARY));
  MUST(rnn_builder_add_sum(builder, "xe", summed, 2));
  MUST(rnn_builder_add_concat(builder, "c", joined, 2));
  MUST(rnn_builder_add_slice(builder, "s", "c", 1, I + 3));
  MUST(rnn_builder_add_layer_norm(builder, "n", nullptr, 1e-5));
  MUST(rnn_builder_add_scale_shift(builder, "k", nullptr, 0));
  MUST(rnn_builder_add_recurrent(builder, "lstm", nullptr, &lstm));
  MUST(rnn_builder_add_dropout(builder, "d", nullptr, 0.5));
  MUST(rnn_builder_add_activation(builder, "a", nullptr, RNN_ACTIVATION_LEAKY_RELU, 0.125, 0));
  MUST(rnn_builder_add_product(builder, "p", multiplied, 2));
  MUST(rnn_builder_add_linear(builder, "y", nullptr, O, 1));
  MUST(rnn_builder_build(builder, &weights, &network));
  rnn_builder_destroy(builder);
  return network;
}

template <class Scalar>
rnn_state *state_in_c(rnn_network *network, const std::vector<Scalar> &values) {
  rnn_state *state = nullptr;
  rnn_state_options options = RNN_STATE_OPTIONS_INIT;
  options.batch_size = N;
  MUST(rnn_state_create(network, &options, &state));
  MUST(C(rnn_state_write)(state, nullptr, values.data(), values.size()));
  return state;
}

template <class Scalar>
void network_functions() {
  SECTION(" a network");
  const rnn::Network network = build<Scalar>();
  rnn_network *const c_network = build_in_c<Scalar>();

  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  MUST(rnn_network_describe(c_network, &info));
  const rnn::NetworkInfo own = network.info();
  CHECK(own.dtype == rnn::data_type<Scalar> && own.streamable && !own.single_step_output);
  CHECK(own.input_size == info.input_size && own.token_count == info.token_count && own.output_size == info.output_size);
  CHECK(own.parameter_count == info.parameter_count && own.parameter_elements == info.parameter_elements);
  CHECK(own.state_count == info.state_count && own.state_elements == info.state_elements);
  CHECK(own.layer_directions == info.layer_directions && own.layer_directions == 2);

  const std::vector<rnn::TensorInfo> parameters = network.parameters();
  CHECK(parameters.size() == info.parameter_count);
  for (std::size_t i = 0; i < parameters.size(); i++) {
    rnn_tensor_info tensor = RNN_TENSOR_INFO_INIT;
    MUST(rnn_network_parameter_info(c_network, i, &tensor));
    CHECK(parameters[i].name == tensor.name && parameters[i].offset == tensor.offset);
    CHECK(parameters[i].element_count == tensor.element_count && parameters[i].shape.size() == tensor.rank);
    for (std::size_t axis = 0; axis < tensor.rank; axis++) CHECK(parameters[i].shape[axis] == tensor.shape[axis]);
    std::vector<Scalar> values(tensor.element_count);
    MUST(C(rnn_network_parameter_get)(c_network, tensor.name, values.data(), values.size()));
    CHECK(same_bits(network.parameter<Scalar>(tensor.name), values));
  }
  std::vector<Scalar> weights(info.parameter_elements);
  MUST(C(rnn_network_parameter_get)(c_network, nullptr, weights.data(), weights.size()));
  CHECK(same_bits(network.parameter<Scalar>(), weights));
  const std::vector<rnn::TensorInfo> states = network.states();
  CHECK(states.size() == 2 && states[0].name == "lstm.h" && states[1].name == "lstm.c");

  SECTION(" run");
  const std::vector<Scalar> x = numbers<Scalar>(T * N * I, 1), begin = numbers<Scalar>(N * info.state_elements, 2);
  std::vector<std::int64_t> tokens(T * N);
  for (std::size_t i = 0; i < tokens.size(); i++) tokens[i] = static_cast<std::int64_t>(i * 5 % VOCABULARY);
  const rnn::Batch<Scalar> batch{T, N, x, tokens, lengths};
  rnn::State state(network, N);
  state.write(nullptr, begin);
  rnn_state *const c_state = state_in_c<Scalar>(c_network, begin);
  rnn::RunOptions run;
  run.padding = rnn::Padding::repeat;
  run.mask = mask;
  run.zero_state_of_empty_rows = true;
  rnn_run_options c_run = RNN_RUN_OPTIONS_INIT;
  c_run.padding = RNN_PADDING_REPEAT;
  c_run.mask = mask.data();
  c_run.mask_count = mask.size();
  c_run.zero_state_of_empty_rows = 1;
  std::vector<Scalar> y(T * N * O), c_y(T * N * O), end(begin.size());
  MUST(C(rnn_network_run)(c_network, T, N, x.data(), x.size(), tokens.data(), tokens.size(), lengths.data(), lengths.size(),
                          c_state, c_y.data(), c_y.size(), &c_run));
  MUST(C(rnn_state_read)(c_state, nullptr, end.data(), end.size()));
  CHECK(same_bits(network.run(batch, &state, run), c_y));
  CHECK(same_bits(state.read<Scalar>(), end));
  CHECK(same_bits(state.read<Scalar>("lstm.c"), rnn::span<const Scalar>(end).subspan(N * states[1].offset, N * 2 * H)));
  state.write(nullptr, begin);
  rnn::State copy = state.clone();
  network.run(batch, y, &copy, run);
  CHECK(same_bits(y, c_y) && same_bits(copy.read<Scalar>(), end) && same_bits(state.read<Scalar>(), begin));
  CHECK(copy.arrays().size() == 2 && copy.rows() == N);
  std::vector<Scalar> final_state(end.size());
  y.assign(y.size(), 0);
  network.run_arrays(batch, begin, y, final_state, run);
  CHECK(same_bits(y, c_y) && same_bits(final_state, end));
  state.reset();
  CHECK(!same_bits(state.read<Scalar>(), begin));

  SECTION(" forward and backward in training");
  rnn::TrainOptions train;
  train.dropout_seed = 3;
  train.step = 4;
  train.first_time = 7;
  train.mask = mask;
  train.padding_value = -1;
  rnn_train_options c_train = RNN_TRAIN_OPTIONS_INIT;
  c_train.dropout_seed = 3;
  c_train.step = 4;
  c_train.first_time = 7;
  c_train.mask = mask.data();
  c_train.mask_count = mask.size();
  c_train.padding_value = -1;
  MUST(C(rnn_state_write)(c_state, nullptr, begin.data(), begin.size()));
  rnn_tape *c_tape = nullptr;
  MUST(C(rnn_network_forward_train)(c_network, T, N, x.data(), x.size(), tokens.data(), tokens.size(), lengths.data(),
                                    lengths.size(), c_state, c_y.data(), c_y.size(), &c_train, &c_tape));
  state.write(nullptr, begin);
  rnn::ForwardPass<Scalar> pass = network.forward_train(batch, &state, train);
  CHECK(same_bits(pass.output, c_y) && pass.tape.steps() == T && pass.tape.rows() == N);
  state.write(nullptr, begin);
  rnn::Tape tape = network.forward_train(batch, y, &state, train);
  CHECK(same_bits(y, c_y));

  const std::vector<rnn::TensorInfo> arrays = tape.arrays();
  CHECK(arrays.size() == 6);
  for (const rnn::TensorInfo &array : arrays) {
    std::vector<Scalar> values(array.element_count);
    MUST(C(rnn_tape_read)(c_tape, array.name.c_str(), values.data(), values.size()));
    CHECK(same_bits(tape.read<Scalar>(array.name), values));
    CHECK(array.shape[0] == T && array.shape[1] == N);
  }

  const std::vector<Scalar> y_gradient = numbers<Scalar>(T * N * O, 8), ending = numbers<Scalar>(begin.size(), 9);
  std::vector<Scalar> c_x_gradient(x.size()), c_gradients(weights.size()), c_beginning(begin.size());
  std::vector<double> c_hidden(2 * T), c_cell(2 * T), c_clipped(2 * T), c_jacobian(2 * T), c_mean(2 * T * RNN_FLOW_GATES),
      c_saturation(2 * T * RNN_FLOW_GATES);
  rnn_backward_options c_backward = RNN_BACKWARD_OPTIONS_INIT;
  c_backward.hidden_flow = c_hidden.data();
  c_backward.cell_flow = c_cell.data();
  c_backward.clipped_flow = c_clipped.data();
  c_backward.jacobian_norm = c_jacobian.data();
  c_backward.hidden_flow_count = c_backward.cell_flow_count = c_backward.clipped_flow_count =
      c_backward.jacobian_norm_count = 2 * T;
  c_backward.gate_mean = c_mean.data();
  c_backward.gate_saturation = c_saturation.data();
  c_backward.gate_mean_count = c_backward.gate_saturation_count = c_mean.size();
  c_backward.hidden_clip = 0.5;
  MUST(C(rnn_state_write)(c_state, nullptr, ending.data(), ending.size()));
  MUST(C(rnn_network_backward)(c_network, c_tape, y_gradient.data(), y_gradient.size(), c_state, c_x_gradient.data(),
                               c_x_gradient.size(), c_state, c_gradients.data(), c_gradients.size(), &c_backward));
  MUST(C(rnn_state_read)(c_state, nullptr, c_beginning.data(), c_beginning.size()));

  state.write(nullptr, ending);
  rnn::GradientFlow flow(own.layer_directions, T);
  const rnn::Gradients<Scalar> gradients = network.backward(tape, y_gradient, &state, &state, flow.options(0.5));
  CHECK(same_bits(gradients.input, c_x_gradient) && same_bits(gradients.parameters, c_gradients));
  CHECK(same_bits(state.read<Scalar>(), c_beginning));
  CHECK(same_bits(flow.hidden, c_hidden) && same_bits(flow.cell, c_cell) && same_bits(flow.clipped, c_clipped));
  CHECK(same_bits(flow.jacobian_norm, c_jacobian) && same_bits(flow.gate_mean, c_mean));
  CHECK(same_bits(flow.gate_saturation, c_saturation));
  state.write(nullptr, ending);
  std::vector<Scalar> only_gradients(weights.size());
  rnn::BackwardOptions clipped;
  clipped.hidden_clip = 0.5;
  network.backward(pass.tape, y_gradient, {}, only_gradients, &state, nullptr, clipped);
  CHECK(same_bits(only_gradients, c_gradients) && same_bits(state.read<Scalar>(), ending));

  SECTION(" streams");
  rnn::StreamOptions rows;
  rows.batch_size = N;
  rnn::Stream stream(network, rows);
  rnn_stream *c_stream = nullptr;
  rnn_stream_options c_rows = RNN_STREAM_OPTIONS_INIT;
  c_rows.batch_size = N;
  MUST(rnn_stream_create(c_network, &c_rows, &c_stream));
  MUST(C(rnn_stream_process)(c_stream, T, x.data(), x.size(), tokens.data(), tokens.size(), c_y.data(), c_y.size()));
  CHECK(same_bits(stream.process(T, x, tokens), c_y));
  stream.get_state(state);
  MUST(rnn_stream_state_get(c_stream, c_state));
  MUST(C(rnn_state_read)(c_state, nullptr, end.data(), end.size()));
  CHECK(same_bits(state.read<Scalar>(), end));
  MUST(rnn_stream_reset(c_stream));
  stream.reset();
  const rnn::span<Scalar> in = stream.input<Scalar>(), out = stream.output<Scalar>();
  const rnn::span<std::int64_t> heard = stream.tokens();
  CHECK(in.size() == N * I && out.size() == N * O && heard.size() == N);
  for (std::size_t t = 0; t < T; t++) {
    std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(t * N * I), N * I, in.begin());
    std::copy_n(tokens.begin() + static_cast<std::ptrdiff_t>(t * N), N, heard.begin());
    if (t % 2 == 0) stream.step();
    else CHECK(stream.try_step() == RNN_OK);
    CHECK(std::memcmp(out.data(), c_y.data() + t * N * O, N * O * sizeof(Scalar)) == 0);
  }
  stream.set_state(state);
  MUST(rnn_stream_state_set(c_stream, c_state));
  MUST(C(rnn_stream_process)(c_stream, T, x.data(), x.size(), tokens.data(), tokens.size(), c_y.data(), c_y.size()));
  stream.process(T, x, y, tokens);
  CHECK(same_bits(y, c_y));
  heard[0] = VOCABULARY;
  CHECK(stream.try_step() == RNN_ERROR_INVALID_ARGUMENT);
  THROWS(RNN_ERROR_INVALID_ARGUMENT, stream.step());

  SECTION(" files");
  network.save("same-bits.safetensors");
  std::ifstream file("same-bits.safetensors", std::ios::binary);
  const std::vector<std::uint8_t> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  CHECK(same_bits(rnn::Network::load("same-bits.safetensors").template parameter<Scalar>(), weights));
  rnn::Network loaded = rnn::Network::load_memory(bytes);
  CHECK(same_bits(loaded.template parameter<Scalar>(), weights) && loaded.architecture() == network.architecture());
  rnn::LoadOptions few;
  few.max_parameters = 10;
  THROWS(RNN_ERROR_FORMAT, rnn::Network::load_memory(bytes, few));
  std::remove("same-bits.safetensors");
  loaded.set_parameter("y.bias", std::vector<Scalar>{1, 2, 3});
  CHECK(same_bits(loaded.template parameter<Scalar>("y.bias"), std::vector<Scalar>{1, 2, 3}));

  rnn_stream_destroy(c_stream);
  rnn_tape_destroy(c_tape);
  rnn_state_destroy(c_state);
  rnn_network_destroy(c_network);
}

template <class Scalar>
void trainers() {
  SECTION(" trainers");
  const rnn::Network network = build<Scalar>();
  const std::vector<Scalar> x = numbers<Scalar>(T * N * I, 1);
  const std::vector<std::int64_t> tokens(T * N, 1), targets = {0, 1, 2, 0, 1, 2, 0, -1, 2, 0, 1, 2, 0, 1, 2};
  for (const bool by_value : {false, true}) {
    rnn::TrainerOptions options;
    options.loss = by_value ? rnn::Loss::mse : rnn::Loss::cross_entropy;
    if (!by_value) options.ignore_index = -1;
    options.clip_norm = 0.5;
    options.clip_mode = rnn::ClipMode::tensor_norm;
    options.update_interval = 2;
    options.backward_steps = 3;
    options.dropout_seed = 9;
    options.hidden_clip = 0.75;
    options.gradient_flow = true;
    rnn::OptimizerOptions adam;
    adam.kind = rnn::OptimizerKind::adam;
    adam.learning_rate = 0.01;
    adam.amsgrad = true;
    rnn_trainer_options c_options = RNN_TRAINER_OPTIONS_INIT;
    c_options.loss = by_value ? RNN_LOSS_MSE : RNN_LOSS_CROSS_ENTROPY;
    c_options.has_ignore_index = !by_value;
    c_options.ignore_index = by_value ? 0 : -1;
    c_options.clip_norm = 0.5;
    c_options.clip_mode = RNN_CLIP_TENSOR_NORM;
    c_options.update_interval = 2;
    c_options.backward_steps = 3;
    c_options.dropout_seed = 9;
    c_options.hidden_clip = 0.75;
    c_options.gradient_flow = 1;
    rnn_optimizer_options c_adam = RNN_OPTIMIZER_OPTIONS_INIT;
    c_adam.kind = RNN_OPTIMIZER_ADAM;
    c_adam.learning_rate = 0.01;
    c_adam.amsgrad = 1;

    rnn::Trainer trainer(network, options, adam);
    rnn_trainer *c_trainer = nullptr;
    MUST(rnn_trainer_create(network.get(), &c_options, &c_adam, &c_trainer));
    THROWS(RNN_ERROR_NOT_FOUND, trainer.flow());  // nothing has happened yet
    const std::vector<Scalar> wanted = numbers<Scalar>(T * N * O, 4);
    const rnn::Batch<Scalar> batch{T, N, x, tokens, lengths};
    rnn::State state(network, N);
    rnn_state *const c_state = state_in_c<Scalar>(network.get(), state.read<Scalar>());
    MUST(rnn_state_reset(c_state));
    for (int i = 0; i < 4; i++) {
      const bool learning = i != 2;
      if (i == 3) {
        trainer.set_learning_rate(0.001);
        MUST(rnn_trainer_learning_rate_set(c_trainer, 0.001));
      }
      rnn_step_report c_report = RNN_STEP_REPORT_INIT;
      MUST((learning ? C(rnn_trainer_step) : C(rnn_trainer_evaluate))(
          c_trainer, T, N, x.data(), x.size(), tokens.data(), tokens.size(), lengths.data(), lengths.size(),
          by_value ? nullptr : targets.data(), by_value ? 0 : targets.size(), by_value ? wanted.data() : nullptr,
          by_value ? wanted.size() : 0, c_state, &c_report));
      const rnn::StepReport report = learning ? by_value ? trainer.step(batch, wanted, &state) : trainer.step(batch, targets, &state)
                                     : by_value ? trainer.evaluate(batch, wanted, &state)
                                                : trainer.evaluate(batch, targets, &state);
      CHECK(report.loss == c_report.loss && report.terms == c_report.terms && report.updates == c_report.updates);
      CHECK(report.gradient_norm == c_report.gradient_norm && report.gradient_scale == c_report.gradient_scale);
      CHECK(report.largest_parameter == c_report.largest_parameter && report.skipped == c_report.skipped);
      CHECK(report.non_finite == rnn::NonFinite::none && report.non_finite_layer == c_report.non_finite_layer);
      CHECK(report.non_finite_step == c_report.non_finite_step && report.non_finite_parameter == c_report.non_finite_parameter);
      CHECK(report.updates == (learning ? 3u : 0u));
    }
    std::vector<Scalar> c_gradients(network.info().parameter_elements), weights(c_gradients.size()), after(c_gradients.size());
    MUST(C(rnn_trainer_gradients)(c_trainer, c_gradients.data(), c_gradients.size()));
    CHECK(same_bits(trainer.template gradients<Scalar>(), c_gradients));
    rnn_network *c_trained = nullptr;
    MUST(rnn_trainer_snapshot(c_trainer, &c_trained));
    MUST(C(rnn_network_parameter_get)(c_trained, nullptr, weights.data(), weights.size()));
    CHECK(same_bits(trainer.snapshot().template parameter<Scalar>(), weights));
    CHECK(!same_bits(network.parameter<Scalar>(), weights));

    const rnn::GradientFlow flow = trainer.flow();
    std::vector<double> c_hidden(flow.hidden.size());
    rnn_backward_options c_flow = RNN_BACKWARD_OPTIONS_INIT;
    c_flow.hidden_flow = c_hidden.data();
    c_flow.hidden_flow_count = c_hidden.size();
    std::size_t c_T = 0;
    MUST(rnn_trainer_flow(c_trainer, &c_flow, &c_T));
    CHECK(flow.T == c_T && flow.layer_directions == 2 && same_bits(flow.hidden, c_hidden));
    rnn_network_destroy(c_trained);
    rnn_state_destroy(c_state);
    rnn_trainer_destroy(c_trainer);
  }
}

template <class Scalar>
void losses() {
  SECTION(" losses");
  constexpr std::size_t rows = 4, classes = 5;
  const std::vector<Scalar> logits = numbers<Scalar>(rows * classes, 3), weights = {1, 2, Scalar(0.5), 1, 3};
  const std::vector<std::int64_t> targets = {1, 4, 2, 0};
  for (const rnn::Reduction reduction : {rnn::Reduction::mean, rnn::Reduction::sum, rnn::Reduction::none}) {
    rnn::CrossEntropyOptions options;
    options.reduction = reduction;
    options.ignore_index = 2;
    options.label_smoothing = 0.125;
    rnn_cross_entropy_options c_options = RNN_CROSS_ENTROPY_OPTIONS_INIT;
    c_options.reduction = static_cast<std::int32_t>(reduction);
    c_options.has_ignore_index = 1;
    c_options.ignore_index = 2;
    c_options.label_smoothing = 0.125;
    std::vector<double> values(reduction == rnn::Reduction::none ? rows : 1), own(values.size());
    std::vector<Scalar> gradient(logits.size());
    MUST(C(rnn_loss_cross_entropy)(rows, classes, logits.data(), logits.size(), targets.data(), targets.size(),
                                   weights.data(), weights.size(), values.data(), values.size(), gradient.data(),
                                   gradient.size(), &c_options));
    const rnn::LossAndGradient<Scalar> loss = rnn::cross_entropy(rows, classes, logits, targets, options, weights);
    CHECK(same_bits(loss.values, values) && same_bits(loss.gradient, gradient) && loss.value() == values[0]);
    std::vector<Scalar> in_place = logits;
    rnn::cross_entropy(rows, classes, in_place, targets, own, in_place, options, weights);
    CHECK(same_bits(own, values) && same_bits(in_place, gradient));

    rnn::MseOptions mse_options;
    mse_options.reduction = reduction;
    rnn_mse_options c_mse = RNN_MSE_OPTIONS_INIT;
    c_mse.reduction = static_cast<std::int32_t>(reduction);
    const std::vector<Scalar> wanted = numbers<Scalar>(logits.size(), 4);
    values.resize(reduction == rnn::Reduction::none ? logits.size() : 1);
    MUST(C(rnn_loss_mse)(logits.size(), logits.data(), logits.size(), wanted.data(), wanted.size(), values.data(),
                         values.size(), gradient.data(), gradient.size(), &c_mse));
    const rnn::LossAndGradient<Scalar> squared = rnn::mse(logits, wanted, mse_options);
    CHECK(same_bits(squared.values, values) && same_bits(squared.gradient, gradient));
  }

  constexpr std::size_t steps = 2, width = 2;
  const rnn::Labels labels{targets, width};  // two rows of two labels, of classes but 3
  rnn::CtcOptions options;
  options.reduction = rnn::Reduction::none;
  options.zero_infinity = true;
  options.blank = 3;
  rnn_ctc_options c_options = RNN_CTC_OPTIONS_INIT;
  c_options.reduction = RNN_REDUCTION_NONE;
  c_options.zero_infinity = 1;
  c_options.blank = 3;
  std::vector<double> values(2);
  std::vector<Scalar> gradient(logits.size());
  MUST(C(rnn_loss_ctc)(steps, 2, classes, width, logits.data(), logits.size(), targets.data(), targets.size(), nullptr, 0,
                       nullptr, 0, values.data(), values.size(), gradient.data(), gradient.size(), &c_options));
  const rnn::LossAndGradient<Scalar> loss = rnn::ctc(steps, 2, classes, logits, labels, options);
  CHECK(same_bits(loss.values, values) && same_bits(loss.gradient, gradient) && values[0] > 0);
  rnn::Labels shorter = labels;
  const std::vector<std::int64_t> one_each = {1, 1};
  shorter.input_lengths = shorter.target_lengths = one_each;
  const std::vector<double> longer = values;
  rnn::ctc(steps, 2, classes, logits, shorter, values, {}, options);
  CHECK(values[0] > 0 && !same_bits(values, longer));
}

template <class Scalar>
void clipping_and_optimizers() {
  SECTION(" clipping");
  const auto call = [](int mode, Scalar *const *gradients, const std::size_t *counts, rnn_clip_report *report) {
    switch (mode) {
      case 0: return C(rnn_gradients_clip)(gradients, counts, 2, 0.5, 2, report);
      case 1: return C(rnn_gradients_clip_each)(gradients, counts, 2, 0.5, 1, report);
      default: return C(rnn_gradients_clip_value)(gradients, counts, 2, 0.5, report);
    }
  };
  for (int mode = 0; mode < 3; mode++)
    for (const bool finite : {true, false}) {
      std::vector<Scalar> a = numbers<Scalar>(7, 1), b = numbers<Scalar>(3, 2);
      if (!finite) b[1] = static_cast<Scalar>(NAN);
      std::vector<Scalar> c_a = a, c_b = b;
      Scalar *const pointers[] = {c_a.data(), c_b.data()};
      const std::size_t counts[] = {7, 3};
      rnn_clip_report c_report = RNN_CLIP_REPORT_INIT;
      MUST(call(mode, pointers, counts, &c_report));
      const rnn::ClipReport report = mode == 0   ? rnn::clip_gradients({a, b}, 0.5)
                                     : mode == 1 ? rnn::clip_gradients_each({a, b}, 0.5, 1)
                                                 : rnn::clip_gradients_value(std::vector<rnn::span<Scalar>>{a, b}, 0.5);
      CHECK(same_bits(a, c_a) && same_bits(b, c_b));
      CHECK(std::memcmp(&report.total_norm, &c_report.total_norm, sizeof(double)) == 0 && report.scale == c_report.scale);
      CHECK(std::memcmp(&report.largest_norm, &c_report.largest_norm, sizeof(double)) == 0);
      CHECK(report.largest_index == c_report.largest_index && report.non_finite == !finite);
      CHECK(report.non_finite_index == c_report.non_finite_index);
    }

  SECTION(" optimizers");
  using Kind = rnn::OptimizerKind;
  for (const Kind kind : {Kind::sgd, Kind::adam, Kind::adamw, Kind::rmsprop}) {
    rnn::OptimizerOptions options;
    options.kind = kind;
    options.learning_rate = 0.25;
    options.weight_decay = 0.125;
    options.momentum = kind == Kind::sgd || kind == Kind::rmsprop ? 0.5 : 0;
    options.nesterov = kind == Kind::sgd;
    options.centered = kind == Kind::rmsprop;
    options.beta1 = kind == Kind::adam ? 0.75 : 0;
    options.beta2 = kind == Kind::adam ? 0.875 : 0;
    options.epsilon = kind == Kind::adamw ? 1e-3 : 0;
    options.alpha = kind == Kind::rmsprop ? 0.75 : 0;
    rnn_optimizer_options c_options = RNN_OPTIMIZER_OPTIONS_INIT;
    c_options.kind = static_cast<std::int32_t>(kind);
    c_options.learning_rate = options.learning_rate;
    c_options.weight_decay = options.weight_decay;
    c_options.momentum = options.momentum;
    c_options.nesterov = options.nesterov;
    c_options.centered = options.centered;
    c_options.beta1 = options.beta1;
    c_options.beta2 = options.beta2;
    c_options.epsilon = options.epsilon;
    c_options.alpha = options.alpha;
    rnn::Optimizer optimizer(rnn::data_type<Scalar>, 8, options);
    rnn_optimizer *c_optimizer = nullptr;
    MUST(rnn_optimizer_create(static_cast<std::int32_t>(rnn::data_type<Scalar>), 8, &c_options, &c_optimizer));
    std::vector<Scalar> own = numbers<Scalar>(8, 5), c_own = own;
    const std::vector<Scalar> before = own;
    for (unsigned step = 0; step < 3; step++) {
      const std::vector<Scalar> gradient = numbers<Scalar>(8, step);
      optimizer.step(own, gradient);
      MUST(C(rnn_optimizer_step)(c_optimizer, c_own.data(), 8, gradient.data(), 8));
      optimizer.set_learning_rate(0.1);
      MUST(rnn_optimizer_learning_rate_set(c_optimizer, 0.1));
    }
    CHECK(same_bits(own, c_own) && !same_bits(own, before));
    rnn_optimizer_destroy(c_optimizer);
  }

  SECTION(" sampling");
  const std::vector<Scalar> logits = numbers<Scalar>(20, 6);
  for (std::uint64_t position = 0; position < 20; position++) {
    rnn::SampleOptions options;
    options.temperature = 0.75;
    options.top_k = 9;
    options.top_p = 0.875;
    options.greedy = position == 19;
    options.seed = 4;
    options.position = position;
    rnn_sample_options c_options = RNN_SAMPLE_OPTIONS_INIT;
    c_options.temperature = 0.75;
    c_options.top_k = 9;
    c_options.top_p = 0.875;
    c_options.greedy = position == 19;
    c_options.seed = 4;
    c_options.position = position;
    std::int64_t token = -1;
    MUST(C(rnn_logits_sample)(logits.data(), logits.size(), &c_options, &token));
    CHECK(rnn::sample(logits, options) == token);
  }
}

/** What the network above cannot have. */
void other_nodes() {
  SECTION("two directions, reversal, softmax, one step, tokens alone");
  for (const rnn::Merge merge : {rnn::Merge::concat, rnn::Merge::sum, rnn::Merge::mean, rnn::Merge::product}) {
    rnn::RecurrentOptions gru;
    gru.cell = rnn::Cell::gru;
    gru.gru_variant = rnn::GruVariant::reset_after;
    gru.hidden_size = H;
    gru.bidirectional = true;
    gru.merge = merge;
    gru.hidden_size_reverse = merge == rnn::Merge::concat ? 2 : 0;
    const rnn::Network network = rnn::Builder()
                                     .add_token_input(nullptr)
                                     .add_one_hot(nullptr, nullptr, VOCABULARY)
                                     .add_recurrent("gru", nullptr, gru)
                                     .add_last_step("last", nullptr)
                                     .add_softmax("softmax", nullptr, true)
                                     .build();
    CHECK(network.info().output_size == (merge == rnn::Merge::concat ? H + 2 : H));
    CHECK(!network.info().streamable && network.info().single_step_output);
    CHECK(rnn::State(network).arrays().size() == (merge == rnn::Merge::concat ? 2u : 1u));
    const std::vector<std::int64_t> tokens = {1, 2, 3, 4, 5, 6};
    const std::vector<float> y = network.run(rnn::Batch<float>{3, 2, {}, tokens});
    CHECK(y.size() == 2 * network.info().output_size);
    THROWS(RNN_ERROR_UNSUPPORTED, rnn::Stream(network));
    rnn::ForwardPass<float> pass = network.forward_train(rnn::Batch<float>{3, 2, {}, tokens});
    const rnn::Gradients<float> gradients = network.backward(pass.tape, y);
    CHECK(same_bits(pass.output, y) && gradients.input.empty() && !gradients.parameters.empty());
  }
  rnn::RecurrentOptions backwards;
  backwards.hidden_size = H;
  backwards.nonlinearity = rnn::Nonlinearity::relu;
  backwards.reverse = true;
  backwards.bias = rnn::Bias::none;
  const rnn::Network network =
      rnn::Builder().add_input("x", I).add_recurrent("r", nullptr, backwards).add_reverse("turned", nullptr).build();
  const std::vector<float> x = numbers<float>(2 * I, 1);
  CHECK(network.run(rnn::Batch<float>{2, 1, x}).size() == 2 * H);

  SECTION("an empty chunk");
  CHECK(network.run(rnn::Batch<float>{0, 1, {}}).empty());
}

template <class Scalar>
void compare(const char *name) {
  SECTION(name);
  network_functions<Scalar>();
  trainers<Scalar>();
  losses<Scalar>();
  clipping_and_optimizers<Scalar>();
}

}  // namespace

int main() {
  compare<float>("float");
  compare<double>("double");
  other_nodes();
  return finish();
}
