// Ownership, errors, texts, spans and defaults of rnn.hpp.
#include "check.hpp"

#include <memory>
#include <string>
#if __cplusplus >= 202002L
#  include <span>
#endif

namespace {

constexpr std::size_t I = 3, H = 4, O = 2;

rnn::Network make_network() {
  rnn::RecurrentOptions gru;
  gru.cell = rnn::Cell::gru;
  gru.hidden_size = H;
  return rnn::Builder().add_input("x", I).add_recurrent("gru", nullptr, gru).add_linear("y", nullptr, O).build();
}

template <class Type>
constexpr bool is_owner = !std::is_copy_constructible_v<Type> && !std::is_copy_assignable_v<Type> &&
                          std::is_nothrow_move_constructible_v<Type> && std::is_nothrow_move_assignable_v<Type> &&
                          std::is_nothrow_destructible_v<Type>;
static_assert(is_owner<rnn::Network> && is_owner<rnn::Builder> && is_owner<rnn::State> && is_owner<rnn::Stream> &&
              is_owner<rnn::Tape> && is_owner<rnn::Optimizer> && is_owner<rnn::Trainer>);

// What may be called in a real-time thread cannot throw.
static_assert(noexcept(std::declval<rnn::Stream &>().try_step()));
static_assert(noexcept(std::declval<rnn::Stream &>().try_process(1, rnn::span<const float>(), rnn::span<float>())));
static_assert(noexcept(std::declval<rnn::Stream &>().try_process(1, rnn::span<const double>(), rnn::span<double>())));
static_assert(noexcept(std::declval<rnn::Stream &>().try_get_state(std::declval<rnn::State &>())));
static_assert(noexcept(std::declval<rnn::Stream &>().try_set_state(std::declval<const rnn::State &>())));

static_assert(std::is_convertible_v<std::vector<float> &, rnn::span<const float>>);
static_assert(std::is_convertible_v<const std::vector<float> &, rnn::span<const float>>);
static_assert(std::is_convertible_v<rnn::span<float>, rnn::span<const float>>);
static_assert(std::is_convertible_v<float (&)[3], rnn::span<float>>);
static_assert(!std::is_convertible_v<const std::vector<float> &, rnn::span<float>>);
static_assert(!std::is_convertible_v<std::vector<float>, rnn::span<float>>);  // would write to what is gone
static_assert(!std::is_convertible_v<std::vector<double> &, rnn::span<const float>>);
static_assert(!std::is_convertible_v<std::vector<bool> &, rnn::span<const std::uint8_t>>);
#if __cplusplus >= 202002L
static_assert(std::is_convertible_v<std::span<float>, rnn::span<const float>>);
static_assert(std::is_convertible_v<rnn::span<float>, std::span<const float>>);
static_assert(!std::is_convertible_v<std::span<const float>, rnn::span<float>>);
#endif

/** Moves an object about: it is the same one, and what it came from is empty. `use` throws where there is none. */
template <class Object, class Use>
void move_about(const char *name, Object first, Object second, Use use) {
  std::printf("  %s\n", name);
  auto *const handle = first.get();
  CHECK(handle != nullptr && first);
  Object moved(std::move(first));
  CHECK(moved.get() == handle && first.get() == nullptr && !first);
  use(moved);
  THROWS(RNN_ERROR_INVALID_HANDLE, use(first));
  second = std::move(moved);  // destroys what it had
  CHECK(second.get() == handle && !moved);
  use(second);
  Object &itself = second;
  second = std::move(itself);
  CHECK(second.get() == handle);
  use(second);
  first = std::move(second);  // into an empty one
  use(first);
}

void ownership() {
  SECTION("objects move, and leave nothing behind");
  const rnn::Network network = make_network();
  const std::vector<float> x(I), y(O);
  const rnn::Batch<float> batch{1, 1, x};

  move_about("Builder", rnn::Builder(), rnn::Builder(), [](rnn::Builder &builder) { builder.add_input(nullptr, 1); });
  move_about("Network", make_network(), make_network(), [&](rnn::Network &each) { each.run(batch); });
  move_about("State", rnn::State(network, 2), rnn::State(network), [](rnn::State &state) {
    state.reset();
    CHECK(state.rows() == 2 && state.read().size() == 2 * H);
  });
  move_about("Stream", rnn::Stream(network), rnn::Stream(network), [](rnn::Stream &stream) { stream.step(); });
  move_about("Tape", network.forward_train(batch).tape, network.forward_train(batch).tape, [&](rnn::Tape &tape) {
    CHECK(tape.steps() == 1 && tape.rows() == 1);
    network.backward(tape, y);
  });
  move_about("Optimizer", rnn::Optimizer(rnn::DataType::float32, O), rnn::Optimizer(rnn::DataType::float32, O),
             [&](rnn::Optimizer &optimizer) {
               std::vector<float> parameters(O);
               optimizer.step(parameters, y);
             });
  rnn::TrainerOptions squared_error;
  squared_error.loss = rnn::Loss::mse;
  move_about("Trainer", rnn::Trainer(network, squared_error), rnn::Trainer(network), [&](rnn::Trainer &trainer) {
    trainer.step(batch, y);
    CHECK(trainer.gradients().size() == network.info().parameter_elements);
  });

  SECTION("an empty stream reports it without an exception");
  rnn::Stream stream(network);
  rnn::Stream other(std::move(stream));
  CHECK(stream.try_step() == RNN_ERROR_INVALID_HANDLE);
  CHECK(other.try_step() == RNN_OK);

  SECTION("objects of rnn.h are taken over and given up");
  rnn_builder *c_builder = nullptr;
  MUST(rnn_builder_create(nullptr, &c_builder));
  rnn::Builder builder(c_builder);
  builder.add_input("x", I).add_activation("y", nullptr, rnn::Activation::relu);
  rnn_network *c_network = builder.build().release();
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  MUST(rnn_network_describe(c_network, &info));
  CHECK(rnn::Network(c_network).info().output_size == I);
  EXPECT(RNN_ERROR_INVALID_HANDLE, rnn_network_describe(c_network, &info));  // went with the temporary
  rnn_builder_destroy(builder.release());
  CHECK(!builder);
  rnn_optimizer *c_optimizer = rnn::Optimizer(rnn::DataType::float64, 1).release();
  rnn::Optimizer(c_optimizer).set_learning_rate(0.5);

  SECTION("the order of destruction is free");
  auto owner = std::make_unique<rnn::Network>(make_network());
  rnn::Stream outliving(*owner);
  rnn::State state(*owner);
  owner.reset();
  outliving.step();
  outliving.get_state(state);
  outliving.reset();
}

void errors() {
  SECTION("an error has status, name and message, and changes nothing");
  rnn::Builder builder;
  builder.add_input("x", I);
  try {
    builder.add_linear("y", "nobody", O);
    CHECK(!"reached");
  } catch (const std::runtime_error &error) {
    const auto &own = static_cast<const rnn::Error &>(error);
    CHECK(own.status() == RNN_ERROR_NOT_FOUND);
    CHECK(std::string(own.name()) == "RNN_ERROR_NOT_FOUND");
    CHECK(std::string(own.what()).find("nobody") != std::string::npos);
    std::printf("  %s: %s\n", own.name(), own.what());
  }
  builder.add_linear("y", "x", O);
  rnn::Network network = builder.build();

  THROWS(RNN_ERROR_INVALID_ARGUMENT, builder.add_recurrent("r", nullptr, {}));  // no hidden_size
  rnn::RecurrentOptions options;
  options.hidden_size = H;
  options.dropout = NAN;
  THROWS(RNN_ERROR_INVALID_ARGUMENT, builder.add_recurrent("r", nullptr, options));
  THROWS(RNN_ERROR_INVALID_ARGUMENT, builder.add_activation("a", nullptr, rnn::Activation::default_));
  THROWS(RNN_ERROR_INVALID_ARGUMENT, builder.add_activation("a", nullptr, static_cast<rnn::Activation>(-5)));
  THROWS(RNN_ERROR_INVALID_ARGUMENT, builder.add_sum("s", {"x"}));
  THROWS(RNN_ERROR_NOT_FOUND, builder.add_sum("s", {"x", "nobody"}));
  THROWS(RNN_ERROR_SHAPE, builder.add_slice("s", "x", 2, 2));
  THROWS(RNN_ERROR_IO, rnn::Network::load("/no/such/folder/model"));
  THROWS(RNN_ERROR_IO, network.save("/no/such/folder/model"));
  THROWS(RNN_ERROR_FORMAT, rnn::Network::load_memory(std::vector<std::uint8_t>(100)));
  THROWS(RNN_ERROR_INVALID_ARGUMENT, rnn::set_threads(0));
  THROWS(RNN_ERROR_INVALID_ARGUMENT, rnn::set_blas("mkl"));
  THROWS(RNN_ERROR_NOT_FOUND, network.parameter("nobody"));
  THROWS(RNN_ERROR_NOT_FOUND, network.set_parameter("nobody", std::vector<float>(1)));
  THROWS(RNN_ERROR_SHAPE, network.set_parameter("y.bias", std::vector<float>(O + 1)));
  THROWS(RNN_ERROR_DTYPE, network.parameter<double>());
  THROWS(RNN_ERROR_DTYPE, network.set_parameter("y.bias", std::vector<double>(O)));
  THROWS(RNN_ERROR_DTYPE, rnn::Stream(network).input<double>());

  std::vector<float> x(I), y(O), short_y(O - 1);
  const std::vector<double> wrong(I);
  THROWS(RNN_ERROR_BUFFER_TOO_SMALL, network.run(rnn::Batch<float>{2, 1, x}));
  THROWS(RNN_ERROR_BUFFER_TOO_SMALL, network.run(rnn::Batch<float>{1, 1, x}, short_y));
  THROWS(RNN_ERROR_DTYPE, network.run(rnn::Batch<double>{1, 1, wrong}));
  THROWS(RNN_ERROR_INVALID_ARGUMENT, network.run(rnn::Batch<float>{1, 0, x}));
  THROWS(RNN_ERROR_INVALID_ARGUMENT, network.run(rnn::Batch<float>{1, 1, x}, x));  // overlap
  rnn::Tape tape = network.forward_train(rnn::Batch<float>{1, 1, x}).tape;
  THROWS(RNN_ERROR_DTYPE, network.backward(tape, std::vector<double>(O)));
  THROWS(RNN_ERROR_BUFFER_TOO_SMALL, network.backward(tape, short_y));
  THROWS(RNN_ERROR_NOT_FOUND, tape.read("nobody"));
  rnn::StreamOptions halves;
  halves.weight_storage = rnn::Storage::bfloat16;
  halves.batch_size = 2;
  THROWS(RNN_ERROR_UNSUPPORTED, rnn::Stream(network, halves));
  THROWS(RNN_ERROR_SHAPE, rnn::Optimizer(rnn::DataType::float32, O).step(y, x));
  THROWS(RNN_ERROR_UNSUPPORTED, rnn::Trainer(network).flow());
  THROWS(RNN_ERROR_INVALID_ARGUMENT, rnn::sample(rnn::span<const float>()));
  THROWS(RNN_ERROR_INVALID_ARGUMENT, rnn::clip_gradients({x}, -1));

  SECTION("steps that no memory can hold are an error and not an attempt");
  rnn::Stream stream(network);
  for (const std::size_t T : {std::size_t(1) << 40, SIZE_MAX / 8, SIZE_MAX / 2, SIZE_MAX}) {
    int refused = 0;
    for (const bool streamed : {false, true}) {
      try {
        if (streamed) stream.process(T, x);
        else network.run(rnn::Batch<float>{T, 1, x});
      } catch (const rnn::Error &) {
        refused++;
      }
    }
    CHECK(refused == 2);
  }

  SECTION("texts: C strings, strings, and none");
  const std::string name = "metadata", value = "\xc3\xa4 value";
  network.set_metadata(name, value);
  network.set_metadata("another", "");
  CHECK(network.metadata("metadata") == value && network.metadata(std::string("another")) == "");
  CHECK(network.metadata_keys() == (std::vector<std::string>{"another", "metadata"}));
  network.set_metadata("another", nullptr);
  CHECK(!network.metadata("another") && network.metadata_keys().size() == 1);
  THROWS(RNN_ERROR_INVALID_ARGUMENT, network.set_metadata("key", std::string("a\0b", 3)));
  THROWS(RNN_ERROR_INVALID_ARGUMENT, network.set_metadata("librnn.key", "value"));
  THROWS(RNN_ERROR_INVALID_ARGUMENT, network.metadata(nullptr));
  CHECK(!network.metadata("key"));
  CHECK(network.architecture().find("\"linear\"") != std::string::npos);
}

/** Options that nobody touched are the ones of rnn.h, to the byte. */
template <class Options>
void check_defaults(const char *name, const Options &expected, const Options &options) {
  if (std::memcmp(&expected, &options, sizeof options) != 0) {
    std::printf("  FAILED: defaults of %s\n", name);
    failures++;
  }
}

void defaults() {
  SECTION("defaults are those of rnn.h");
#define DEFAULTS(c_type, macro, type)                 \
  do {                                                \
    const c_type expected = macro;                    \
    check_defaults(#type, expected, rnn::type().c()); \
  } while (0)
  DEFAULTS(rnn_builder_options, RNN_BUILDER_OPTIONS_INIT, BuilderOptions);
  DEFAULTS(rnn_recurrent_options, RNN_RECURRENT_OPTIONS_INIT, RecurrentOptions);
  DEFAULTS(rnn_build_options, RNN_BUILD_OPTIONS_INIT, BuildOptions);
  DEFAULTS(rnn_load_options, RNN_LOAD_OPTIONS_INIT, LoadOptions);
  DEFAULTS(rnn_save_options, RNN_SAVE_OPTIONS_INIT, SaveOptions);
  DEFAULTS(rnn_run_options, RNN_RUN_OPTIONS_INIT, RunOptions);
  DEFAULTS(rnn_train_options, RNN_TRAIN_OPTIONS_INIT, TrainOptions);
  DEFAULTS(rnn_backward_options, RNN_BACKWARD_OPTIONS_INIT, BackwardOptions);
  DEFAULTS(rnn_stream_options, RNN_STREAM_OPTIONS_INIT, StreamOptions);
  DEFAULTS(rnn_cross_entropy_options, RNN_CROSS_ENTROPY_OPTIONS_INIT, CrossEntropyOptions);
  DEFAULTS(rnn_mse_options, RNN_MSE_OPTIONS_INIT, MseOptions);
  DEFAULTS(rnn_ctc_options, RNN_CTC_OPTIONS_INIT, CtcOptions);
  DEFAULTS(rnn_optimizer_options, RNN_OPTIMIZER_OPTIONS_INIT, OptimizerOptions);
  DEFAULTS(rnn_trainer_options, RNN_TRAINER_OPTIONS_INIT, TrainerOptions);
  DEFAULTS(rnn_sample_options, RNN_SAMPLE_OPTIONS_INIT, SampleOptions);

#if __cplusplus >= 202002L
  SECTION("options in one expression");
  const rnn::RecurrentOptions lstm{.hidden_size = H, .cell = rnn::Cell::lstm, .bidirectional = true};
  CHECK(lstm.c().hidden_size == H && lstm.c().cell == RNN_CELL_LSTM && lstm.c().bidirectional == 1);
#endif
}

void process() {
  SECTION("what is set for the whole process");
  CHECK(std::string(rnn::version()) == RNN_VERSION_STRING && rnn::version_number() == RNN_VERSION_NUMBER);
  CHECK(rnn::kernels_name()[0] != 0);
  rnn::set_blas("none");
  CHECK(std::string(rnn::blas_name()) == "none");
  const std::size_t before = rnn::threads();
  rnn::set_threads(2);
  CHECK(rnn::threads() == 2);
  rnn::set_threads(before);
}

}  // namespace

int main() {
  ownership();
  errors();
  defaults();
  process();
  return finish();
}
