/* The whole life of a network, without Python: built, trained, evaluated, saved, loaded, run step by step.
 *
 * The task is an echo: say the symbol that came three steps ago. A network can only do it by keeping symbols in its state.
 */
#include "check.h"

enum { SYMBOLS = 4, DELAY = 3, T = 20, N = 8, H = 24, BATCHES = 250 };

/** Uniform in 0 .. SYMBOLS - 1. */
static int64_t symbol(uint64_t *seed) { return (int64_t)((uniform(seed) + 1) / 2 * SYMBOLS); }

/** Symbols and what to say about them, [T, N]; -100 is "says nothing": there is no right answer yet. */
static void make_batch(uint64_t *seed, int64_t *tokens, int64_t *targets) {
  for (size_t i = 0; i < T * N; i++) tokens[i] = symbol(seed);
  for (size_t i = 0; i < T * N; i++) targets[i] = i < DELAY * N ? -100 : tokens[i - DELAY * N];
}

static rnn_network *build(void) {
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  rnn_recurrent_options gru = RNN_RECURRENT_OPTIONS_INIT;
  gru.cell = RNN_CELL_GRU;
  gru.hidden_size = H;
  rnn_build_options weights = RNN_BUILD_OPTIONS_INIT;
  weights.seed = 1;
  MUST(rnn_builder_create(NULL, &builder));
  MUST(rnn_builder_add_token_input(builder, "symbol"));
  MUST(rnn_builder_add_one_hot(builder, "one-hot", NULL, SYMBOLS));
  MUST(rnn_builder_add_recurrent(builder, "gru", NULL, &gru));
  MUST(rnn_builder_add_linear(builder, "answer", NULL, SYMBOLS, 1));
  MUST(rnn_builder_build(builder, &weights, &network));
  rnn_builder_destroy(builder);
  return network;
}

/** Trains, and gives a network of the weights that came out. */
static rnn_network *train(rnn_network *network) {
  SECTION("training");
  rnn_trainer_options options = RNN_TRAINER_OPTIONS_INIT;
  options.loss = RNN_LOSS_CROSS_ENTROPY;
  options.clip_norm = 0.25;
  rnn_optimizer_options adam = RNN_OPTIMIZER_OPTIONS_INIT;
  adam.kind = RNN_OPTIMIZER_ADAM;
  adam.learning_rate = 0.02;
  rnn_trainer *trainer = NULL;
  MUST(rnn_trainer_create(network, &options, &adam, &trainer));

  int64_t tokens[T * N], targets[T * N];
  uint64_t seed = 1;
  rnn_step_report report = RNN_STEP_REPORT_INIT;
  for (int batch = 1; batch <= BATCHES; batch++) {
    make_batch(&seed, tokens, targets);
    /* A schedule: smaller steps towards the end. */
    if (batch == BATCHES * 3 / 4) MUST(rnn_trainer_learning_rate_set(trainer, 0.005));
    MUST(rnn_trainer_step(trainer, T, N, NULL, 0, tokens, COUNT(tokens), NULL, 0, targets, COUNT(targets), NULL, 0, NULL,
                          &report));
    if (batch == 1 || batch % 50 == 0)
      printf("  batch %3d  loss %.4f  gradient norm %.3f, scaled by %.3f\n", batch, report.loss, report.gradient_norm,
             report.gradient_scale);
    if (batch == 1) CHECK(fabs(report.loss - log(SYMBOLS)) < 0.3); /* as good as guessing */
    CHECK(report.updates == 1 && report.skipped == 0);
    CHECK(report.terms == (T - DELAY) * N);
    CHECK(report.gradient_scale <= 1 && report.gradient_norm * report.gradient_scale <= 0.2501);
  }

  SECTION("evaluation, on symbols that it has not seen");
  rnn_step_report before = RNN_STEP_REPORT_INIT;
  uint64_t other = 1000;
  make_batch(&other, tokens, targets);
  MUST(rnn_trainer_evaluate(trainer, T, N, NULL, 0, tokens, COUNT(tokens), NULL, 0, targets, COUNT(targets), NULL, 0, NULL,
                            &before));
  printf("  loss %.5f\n", before.loss);
  CHECK(before.updates == 0);
  CHECK(before.loss < 0.05);

  rnn_network *trained = NULL;
  MUST(rnn_trainer_snapshot(trainer, &trained));
  rnn_trainer_destroy(trainer);
  return trained;
}

/** Says the echo of new symbols, one at a time: how many of `count` answers are right. */
static int listen(rnn_network *network, int count) {
  rnn_stream *stream = NULL;
  int64_t *token;
  float *scores;
  size_t tokens, classes;
  MUST(rnn_stream_create(network, NULL, &stream));
  MUST(rnn_stream_tokens(stream, &token, &tokens));
  MUST(rnn_stream_output(stream, &scores, &classes));
  int64_t past[DELAY] = {0};
  uint64_t seed = 7;
  int right = 0;
  rnn_sample_options most_likely = RNN_SAMPLE_OPTIONS_INIT;
  most_likely.greedy = 1;
  for (int step = 0; step < count + DELAY; step++) {
    const int64_t wanted = past[step % DELAY];
    past[step % DELAY] = *token = symbol(&seed);
    MUST(rnn_stream_step(stream));
    int64_t said;
    MUST(rnn_logits_sample(scores, classes, &most_likely, &said));
    right += step >= DELAY && said == wanted;
  }
  rnn_stream_destroy(stream);
  return right;
}

int main(void) {
  rnn_network *network = build();
  printf("echo after %d steps: %d right of 200 before training\n", DELAY, listen(network, 200));
  rnn_network *trained = train(network);

  SECTION("saving and loading");
  rnn_network *loaded = NULL;
  MUST(rnn_network_metadata_set(trained, "task", "echo"));
  MUST(rnn_network_save(trained, "echo.safetensors", NULL));
  MUST(rnn_network_load("echo.safetensors", NULL, &loaded));
  remove("echo.safetensors");

  SECTION("step by step");
  const int untrained = listen(network, 200), right = listen(loaded, 200);
  printf("  %d right of 200\n", right);
  CHECK(untrained < 100); /* the trainer has a copy: the network it was made from is as before */
  CHECK(right >= 198);
  CHECK(listen(trained, 200) == right);

  rnn_network_destroy(loaded);
  rnn_network_destroy(trained);
  rnn_network_destroy(network);
  return finish();
}
