// The smallest program: a network is built, run, saved, loaded and streamed.
//
//   c++ -std=c++17 first.cpp -lrnn && ./a.out
#include <rnn.hpp>

#include <cstdio>
#include <vector>

int main() try {
  rnn::RecurrentOptions lstm;
  lstm.cell = rnn::Cell::lstm;
  lstm.hidden_size = 16;

  rnn::Builder builder;
  builder.add_input("x", 8).add_recurrent("lstm", nullptr, lstm).add_linear("out", nullptr, 2);
  const rnn::Network network = builder.build();

  const std::vector<float> x(5 * 1 * 8, 0.5f);                            // [T, N, I]
  const std::vector<float> y = network.run(rnn::Batch<float>{5, 1, x});  // [T, N, O]
  network.save("first-cpp.safetensors");

  rnn::Stream stream(rnn::Network::load("first-cpp.safetensors"));  // one step at a time
  std::remove("first-cpp.safetensors");
  const rnn::span<float> in = stream.input(), out = stream.output();
  for (float &value : in) value = 0.5f;
  for (int t = 0; t < 5; t++) stream.step();
  std::printf("librnn %s (%s): %g %g, and streamed %g %g\n", rnn::version(), rnn::kernels_name(), y[8], y[9], out[0], out[1]);
  return out[0] == y[8] && out[1] == y[9] ? 0 : 1;
} catch (const rnn::Error &error) {
  std::fprintf(stderr, "%s: %s\n", error.name(), error.what());
  return 1;
}
