/* Handles are checked values: NULL, destroyed, of another kind or made up, they give an error and never a crash. */
#include "check.h"

#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
#include <malloc.h>
#endif

enum { I = 2, H = 3 };

static rnn_builder *make_builder(void) {
  rnn_builder *builder = NULL;
  MUST(rnn_builder_create(NULL, &builder));
  MUST(rnn_builder_add_input(builder, "x", I));
  rnn_recurrent_options gru = RNN_RECURRENT_OPTIONS_INIT;
  gru.cell = RNN_CELL_GRU;
  gru.hidden_size = H;
  MUST(rnn_builder_add_recurrent(builder, "gru", NULL, &gru));
  return builder;
}

static rnn_tape *make_tape(rnn_network *network) {
  const float x[I] = {1, 2};
  float y[H];
  rnn_tape *tape = NULL;
  MUST(rnn_network_forward_train(network, 1, 1, x, I, NULL, 0, NULL, 0, NULL, y, H, NULL, &tape));
  return tape;
}

/** One call of each kind of object with a handle that is none. */
static void refuse(void *handle) {
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  float gradient[H] = {0};
  EXPECT(RNN_ERROR_INVALID_HANDLE, rnn_builder_add_token_input((rnn_builder *)handle, "t"));
  EXPECT(RNN_ERROR_INVALID_HANDLE, rnn_network_describe((rnn_network *)handle, &info));
  EXPECT(RNN_ERROR_INVALID_HANDLE, rnn_state_reset((rnn_state *)handle));
  EXPECT(RNN_ERROR_INVALID_HANDLE, rnn_stream_step((rnn_stream *)handle));
  EXPECT(RNN_ERROR_INVALID_HANDLE, rnn_network_backward((rnn_network *)handle, (rnn_tape *)handle, gradient, H, NULL, NULL,
                                                        0, NULL, NULL, 0, NULL));
}

static void destroy_all(void *handle) {
  rnn_builder_destroy((rnn_builder *)handle);
  rnn_network_destroy((rnn_network *)handle);
  rnn_state_destroy((rnn_state *)handle);
  rnn_stream_destroy((rnn_stream *)handle);
  rnn_tape_destroy((rnn_tape *)handle);
}

static size_t bytes_in_use(void) {
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
  return mallinfo2().uordblks;
#else
  return 0; /* not to be had: the check then says nothing */
#endif
}

/** Makes one object of every kind, uses it and destroys it. */
static void come_and_go(void) {
  rnn_builder *builder = make_builder();
  rnn_network *network = NULL;
  rnn_state *state = NULL, *clone = NULL;
  rnn_stream *stream = NULL;
  MUST(rnn_builder_build(builder, NULL, &network));
  MUST(rnn_network_metadata_set(network, "key", "value"));
  MUST(rnn_state_create(network, NULL, &state));
  MUST(rnn_state_clone(state, &clone));
  MUST(rnn_stream_create(network, NULL, &stream));
  MUST(rnn_stream_step(stream));
  rnn_tape *tape = make_tape(network);
  EXPECT(RNN_ERROR_NOT_FOUND, rnn_builder_add_last_step(builder, NULL, "no such node"));
  rnn_tape_destroy(tape);
  rnn_stream_destroy(stream);
  rnn_state_destroy(clone);
  rnn_state_destroy(state);
  rnn_network_destroy(network);
  rnn_builder_destroy(builder);
}

int main(void) {
  rnn_builder *builder = make_builder();
  rnn_network *network = NULL;
  rnn_state *state = NULL;
  rnn_stream *stream = NULL;
  MUST(rnn_builder_build(builder, NULL, &network));
  MUST(rnn_state_create(network, NULL, &state));
  MUST(rnn_stream_create(network, NULL, &stream));
  rnn_tape *tape = make_tape(network);

  SECTION("NULL and made-up handles");
  refuse(NULL);
  uint64_t seed = 99;
  for (int i = 0; i < 1000; i++) {
    uintptr_t made_up = (uintptr_t)(uniform(&seed) * 9e18);
    if (i < 64) made_up = (uintptr_t)1 << i;
    if (i == 64) made_up = UINTPTR_MAX;
    if (i == 65) made_up = (uintptr_t)&seed; /* an address */
    if (made_up == (uintptr_t)builder || made_up == (uintptr_t)network || made_up == (uintptr_t)state ||
        made_up == (uintptr_t)stream || made_up == (uintptr_t)tape)
      continue;
    refuse((void *)made_up);
    destroy_all((void *)made_up);
  }
  destroy_all(NULL);

  SECTION("handles of another kind");
  void *const all[] = {builder, network, state, stream, tape};
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  for (size_t i = 0; i < COUNT(all); i++) {
    if (all[i] != (void *)builder) {
      EXPECT(RNN_ERROR_INVALID_HANDLE, rnn_builder_add_token_input((rnn_builder *)all[i], "t"));
      rnn_builder_destroy((rnn_builder *)all[i]);
    }
    if (all[i] != (void *)network) {
      EXPECT(RNN_ERROR_INVALID_HANDLE, rnn_network_describe((rnn_network *)all[i], &info));
      rnn_network_destroy((rnn_network *)all[i]);
    }
    if (all[i] != (void *)state) {
      EXPECT(RNN_ERROR_INVALID_HANDLE, rnn_state_reset((rnn_state *)all[i]));
      rnn_state_destroy((rnn_state *)all[i]);
    }
    if (all[i] != (void *)stream) {
      EXPECT(RNN_ERROR_INVALID_HANDLE, rnn_stream_step((rnn_stream *)all[i]));
      rnn_stream_destroy((rnn_stream *)all[i]);
    }
    if (all[i] != (void *)tape) rnn_tape_destroy((rnn_tape *)all[i]);
  }

  SECTION("all of them still work");
  float gradient[H] = {1, 1, 1}, parameters_gradient[3 * H * (I + H) + 3 * H];
  MUST(rnn_network_describe(network, &info));
  MUST(rnn_state_reset(state));
  MUST(rnn_stream_step(stream));
  MUST(rnn_network_backward(network, tape, gradient, H, NULL, NULL, 0, NULL, parameters_gradient, COUNT(parameters_gradient),
                            NULL));

  SECTION("streams and tapes outlive the builder and the network; a handle is dead after destroy");
  rnn_builder_destroy(builder);
  rnn_network_destroy(network);
  EXPECT(RNN_ERROR_INVALID_HANDLE, rnn_network_describe(network, &info));
  printf("  %s\n", rnn_last_error_message());
  MUST(rnn_stream_step(stream));
  MUST(rnn_stream_reset(stream));
  rnn_stream_destroy(stream);
  rnn_state_destroy(state);
  rnn_tape_destroy(tape);
  refuse(builder);
  refuse(network);
  refuse(state);
  refuse(stream);
  refuse(tape);

  SECTION("a new object does not answer to an old handle");
  rnn_builder *later[100];
  for (size_t i = 0; i < COUNT(later); i++) later[i] = make_builder();
  refuse(network);
  refuse(stream);
  EXPECT(RNN_ERROR_INVALID_HANDLE, rnn_builder_add_token_input(builder, "t"));
  destroy_all(builder);
  for (size_t i = 0; i < COUNT(later); i++) {
    MUST(rnn_builder_add_token_input(later[i], "t"));
    rnn_builder_destroy(later[i]);
    rnn_builder_destroy(later[i]); /* twice does nothing */
  }

  SECTION("objects that come and go leave no memory behind");
  for (int i = 0; i < 100; i++) come_and_go();
  /* A leak grows in every window; caches of the allocator and the runtime do not. */
  long long smallest = INT64_MAX;
  for (int window = 0; window < 3; window++) {
    const long long before = (long long)bytes_in_use();
    for (int i = 0; i < 300; i++) come_and_go();
    const long long grown = (long long)bytes_in_use() - before;
    printf("  300 rounds: %lld bytes more\n", grown);
    if (grown < smallest) smallest = grown;
  }
  CHECK(smallest < 300 * 8); /* less than a pointer a round */
  return finish();
}
