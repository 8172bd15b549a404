// The whole life of an LSTM: built, trained, saved, loaded, and streamed one sample at a time.
//
// The task is a running mean of the last four samples of a noise. It needs memory: the network sees one sample a step.
#include "check.hpp"

#include <cstdio>
#include <string>

namespace {

constexpr std::size_t T = 24, N = 16, H = 12, WINDOW = 4;
constexpr int BATCHES = 300;

/** Noise and its running means, [T, N, 1]. */
void make_batch(std::uint64_t &seed, std::vector<float> &x, std::vector<float> &wanted) {
  for (std::size_t t = 0; t < T; t++)
    for (std::size_t n = 0; n < N; n++) {
      x[t * N + n] = static_cast<float>(uniform(&seed));
      float sum = 0;
      for (std::size_t back = 0; back < WINDOW && back <= t; back++) sum += x[(t - back) * N + n];
      wanted[t * N + n] = sum / WINDOW;
    }
}

rnn::Network build() {
  rnn::RecurrentOptions lstm;
  lstm.cell = rnn::Cell::lstm;
  lstm.hidden_size = H;
  rnn::BuildOptions weights;
  weights.seed = 1;
  weights.forget_bias = 1;
  return rnn::Builder().add_input("noise", 1).add_recurrent("lstm", nullptr, lstm).add_linear("mean", nullptr, 1).build(weights);
}

rnn::Network train(const rnn::Network &network) {
  SECTION("training");
  rnn::TrainerOptions options;
  options.loss = rnn::Loss::mse;
  options.clip_norm = 1;
  rnn::OptimizerOptions adam;
  adam.kind = rnn::OptimizerKind::adam;
  adam.learning_rate = 0.02;
  rnn::Trainer trainer(network, options, adam);

  std::vector<float> x(T * N), wanted(T * N);
  std::uint64_t seed = 1;
  double first = 0;
  for (int batch = 1; batch <= BATCHES; batch++) {
    make_batch(seed, x, wanted);
    if (batch == BATCHES * 3 / 4) trainer.set_learning_rate(0.004);
    const rnn::StepReport report = trainer.step(rnn::Batch<float>{T, N, x}, wanted);
    if (batch == 1) first = report.loss;
    if (batch == 1 || batch % 100 == 0) std::printf("  batch %3d  loss %.6f\n", batch, report.loss);
    CHECK(report.updates == 1 && report.skipped == 0 && report.terms == T * N);
    CHECK(report.non_finite == rnn::NonFinite::none);
  }
  // Noise that it has not seen.
  std::uint64_t other = 1000;
  make_batch(other, x, wanted);
  const double loss = trainer.evaluate(rnn::Batch<float>{T, N, x}, wanted).loss;
  std::printf("  loss on other noise %.6f\n", loss);
  CHECK(loss < first / 20);
  return trainer.snapshot();
}

}  // namespace

int main() {
  const rnn::Network network = build();
  const std::vector<float> before = network.parameter();
  rnn::Network trained = train(network);
  CHECK(same_bits(network.parameter(), before));  // the trainer has a copy

  SECTION("saving and loading");
  trained.set_metadata("task", "running mean");
  trained.save("mean.safetensors");
  const rnn::Network loaded = rnn::Network::load("mean.safetensors");
  std::remove("mean.safetensors");
  CHECK(loaded.metadata("task") == "running mean");
  CHECK(same_bits(loaded.parameter(), trained.parameter()));

  SECTION("streaming: the same bits as the whole sequence");
  const std::vector<float> sound = numbers<float>(100, 77);
  const std::vector<float> whole = trained.run(rnn::Batch<float>{100, 1, sound});
  rnn::Stream stream(loaded);
  const rnn::span<float> x = stream.input(), y = stream.output();
  double worst = 0;
  for (std::size_t t = 0; t < sound.size(); t++) {
    x[0] = sound[t];
    CHECK(stream.try_step() == RNN_OK);
    CHECK(y[0] == whole[t]);
    float sum = 0;
    for (std::size_t back = 0; back < WINDOW && back <= t; back++) sum += sound[t - back];
    worst = fmax(worst, fabs(static_cast<double>(y[0] - sum / WINDOW)));
  }
  std::printf("  largest error of 100 running means: %.3f\n", worst);
  CHECK(worst < 0.3);
  return finish();
}
