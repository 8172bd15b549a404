/* Options structs of older and newer callers: a shorter struct_size is an older caller, a longer one is accepted while the
 * part that this library does not know is zero. */
#include "check.h"

/** An options struct of a later version: one more field. */
typedef struct {
  rnn_recurrent_options known;
  uint64_t added_later;
} newer_recurrent_options;

/** The first fields only, as a program built against an earlier header would have them. */
typedef struct {
  size_t struct_size;
  size_t hidden_size;
} older_recurrent_options;

static size_t output_size(const void *options) {
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  MUST(rnn_builder_create(NULL, &builder));
  MUST(rnn_builder_add_input(builder, NULL, 2));
  MUST(rnn_builder_add_recurrent(builder, NULL, NULL, (const rnn_recurrent_options *)options));
  MUST(rnn_builder_build(builder, NULL, &network));
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  MUST(rnn_network_describe(network, &info));
  rnn_network_destroy(network);
  rnn_builder_destroy(builder);
  return info.output_size;
}

int main(void) {
  SECTION("an older caller");
  older_recurrent_options older = {sizeof older, 5};
  CHECK(output_size(&older) == 5);

  SECTION("a newer caller that does not use the new field");
  newer_recurrent_options newer = {RNN_RECURRENT_OPTIONS_INIT, 0};
  newer.known.struct_size = sizeof newer;
  newer.known.hidden_size = 7;
  newer.known.bidirectional = 1;
  CHECK(output_size(&newer) == 14);

  SECTION("a newer caller that asks for something this library does not know");
  rnn_builder *builder = NULL;
  MUST(rnn_builder_create(NULL, &builder));
  MUST(rnn_builder_add_input(builder, NULL, 2));
  newer.added_later = 1;
  EXPECT(RNN_ERROR_UNSUPPORTED, rnn_builder_add_recurrent(builder, NULL, NULL, &newer.known));
  printf("  %s\n", rnn_last_error_message());
  newer.added_later = 0;

  SECTION("sizes that no caller can mean");
  const size_t impossible[] = {0, 1, sizeof(size_t) - 1, SIZE_MAX / 2, SIZE_MAX};
  for (size_t i = 0; i < COUNT(impossible); i++) {
    newer.known.struct_size = impossible[i];
    EXPECT(RNN_ERROR_INVALID_ARGUMENT, rnn_builder_add_recurrent(builder, NULL, NULL, &newer.known));
  }
  printf("  %s\n", rnn_last_error_message());

  SECTION("values that are not allowed");
  rnn_recurrent_options options = RNN_RECURRENT_OPTIONS_INIT;
  EXPECT(RNN_ERROR_INVALID_ARGUMENT, rnn_builder_add_recurrent(builder, NULL, NULL, NULL)); /* required here */
  EXPECT(RNN_ERROR_INVALID_ARGUMENT, rnn_builder_add_recurrent(builder, NULL, NULL, &options)); /* hidden_size is 0 */
  options.hidden_size = 4;
  options.dropout = NAN;
  EXPECT(RNN_ERROR_INVALID_ARGUMENT, rnn_builder_add_recurrent(builder, NULL, NULL, &options));
  options.dropout = 1;
  EXPECT(RNN_ERROR_INVALID_ARGUMENT, rnn_builder_add_recurrent(builder, NULL, NULL, &options));
  options.dropout = 0;
  options.cell = 99;
  EXPECT(RNN_ERROR_INVALID_ARGUMENT, rnn_builder_add_recurrent(builder, NULL, NULL, &options));
  options.cell = RNN_CELL_GRU;
  MUST(rnn_builder_add_recurrent(builder, "gru", NULL, &options));

  SECTION("a struct that is filled: nothing is written past the caller's size");
  rnn_network *network = NULL;
  MUST(rnn_builder_build(builder, NULL, &network));
  rnn_network_info info;
  memset(&info, 0x5a, sizeof info);
  info.struct_size = offsetof(rnn_network_info, token_count);
  MUST(rnn_network_describe(network, &info));
  CHECK(info.input_size == 2);
  size_t untouched;
  memset(&untouched, 0x5a, sizeof untouched);
  CHECK(info.token_count == untouched && info.layer_directions == untouched);
  rnn_network_info zero = {0};
  EXPECT(RNN_ERROR_INVALID_ARGUMENT, rnn_network_describe(network, &zero));

  rnn_network_destroy(network);
  rnn_builder_destroy(builder);
  return finish();
}
