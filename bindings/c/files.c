/* Saving and loading: a file, a file in memory, metadata, and what damaged or missing files give. */
#include "check.h"

enum { T = 4, I = 3, H = 5 };

static rnn_network *build(void) {
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  MUST(rnn_builder_create(NULL, &builder));
  MUST(rnn_builder_add_input(builder, "x", I));
  rnn_recurrent_options options = RNN_RECURRENT_OPTIONS_INIT;
  options.cell = RNN_CELL_GRU;
  options.hidden_size = H;
  MUST(rnn_builder_add_recurrent(builder, "gru", NULL, &options));
  MUST(rnn_builder_build(builder, NULL, &network));
  rnn_builder_destroy(builder);
  return network;
}

static void run(rnn_network *network, float output[T * H]) {
  float input[T * I];
  fill(input, COUNT(input), 3);
  MUST(rnn_network_run(network, T, 1, input, COUNT(input), NULL, 0, NULL, 0, NULL, output, T * H, NULL));
}

static uint8_t *read_file(const char *path, size_t *count) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) return NULL;
  fseek(file, 0, SEEK_END);
  *count = (size_t)ftell(file);
  rewind(file);
  uint8_t *bytes = malloc(*count);
  if (bytes != NULL && fread(bytes, 1, *count, file) != *count) *count = 0;
  fclose(file);
  return bytes;
}

static void metadata(rnn_network *network) {
  SECTION("metadata");
  MUST(rnn_network_metadata_set(network, "sample_rate", "48000"));
  MUST(rnn_network_metadata_set(network, "classes", "[\"ja\", \"n\xc3\xa4\", \"\\\"\"]"));
  MUST(rnn_network_metadata_set(network, "empty", ""));

  size_t length = 0;
  MUST(rnn_network_metadata_get(network, "sample_rate", NULL, 0, &length));
  CHECK(length == 5);
  char text[64];
  memset(text, '#', sizeof text);
  EXPECT(RNN_ERROR_BUFFER_TOO_SMALL, rnn_network_metadata_get(network, "sample_rate", text, 5, &length));
  CHECK(length == 5 && text[0] == '#');
  MUST(rnn_network_metadata_get(network, "sample_rate", text, 6, NULL));
  CHECK(strcmp(text, "48000") == 0 && text[6] == '#');
  EXPECT(RNN_ERROR_NOT_FOUND, rnn_network_metadata_get(network, "sample rate", text, sizeof text, NULL));
  EXPECT(RNN_ERROR_INVALID_ARGUMENT, rnn_network_metadata_set(network, "", "no key"));
  EXPECT(RNN_ERROR_INVALID_ARGUMENT, rnn_network_metadata_set(network, "librnn.architecture", "{}"));

  static const char *const sorted[] = {"classes", "empty", "sample_rate"};
  for (size_t i = 0; i < COUNT(sorted); i++) {
    MUST(rnn_network_metadata_key(network, i, text, sizeof text, NULL));
    CHECK(strcmp(text, sorted[i]) == 0);
  }
  EXPECT(RNN_ERROR_NOT_FOUND, rnn_network_metadata_key(network, COUNT(sorted), text, sizeof text, NULL));
  MUST(rnn_network_metadata_set(network, "empty", NULL));
  EXPECT(RNN_ERROR_NOT_FOUND, rnn_network_metadata_get(network, "empty", text, sizeof text, NULL));
}

/** The copy has the weights, the architecture and the metadata of the original. */
static void check_equal(rnn_network *original, rnn_network *copy) {
  float a[T * H], b[T * H];
  run(original, a);
  run(copy, b);
  CHECK(SAME_BITS(a, b));

  size_t length = 0, copy_length = 0;
  MUST(rnn_network_architecture(original, NULL, 0, &length));
  MUST(rnn_network_architecture(copy, NULL, 0, &copy_length));
  CHECK(length > 0 && length == copy_length);
  char *text = malloc(length + 1), *copy_text = malloc(copy_length + 1);
  MUST(rnn_network_architecture(original, text, length + 1, NULL));
  MUST(rnn_network_architecture(copy, copy_text, copy_length + 1, NULL));
  CHECK(strcmp(text, copy_text) == 0);
  free(text);
  free(copy_text);

  char value[64];
  MUST(rnn_network_metadata_get(copy, "classes", value, sizeof value, NULL));
  CHECK(strcmp(value, "[\"ja\", \"n\xc3\xa4\", \"\\\"\"]") == 0);
}

int main(void) {
  const char *path = "files-test.safetensors";
  rnn_network *network = build(), *loaded = NULL, *from_memory = NULL;
  metadata(network);

  SECTION("save, load");
  MUST(rnn_network_save(network, path, NULL));
  MUST(rnn_network_load(path, NULL, &loaded));
  check_equal(network, loaded);

  SECTION("the same file, saved again, has the same bytes");
  size_t count = 0, again_count = 0;
  uint8_t *bytes = read_file(path, &count);
  rnn_save_options no_sync = RNN_SAVE_OPTIONS_INIT;
  no_sync.no_sync = 1;
  MUST(rnn_network_save(loaded, path, &no_sync));
  uint8_t *again = read_file(path, &again_count);
  CHECK(bytes != NULL && again != NULL && count == again_count && memcmp(bytes, again, count) == 0);
  free(again);

  SECTION("load from memory, which is then freed");
  uint8_t *copy = malloc(count);
  memcpy(copy, bytes, count);
  MUST(rnn_network_load_memory(copy, count, NULL, &from_memory));
  memset(copy, 0xff, count);
  free(copy);
  check_equal(network, from_memory);

  SECTION("a file cut off anywhere is refused");
  rnn_network *refused = network;
  for (size_t length = 1; length < count; length++) {
    uint8_t *cut = malloc(length); /* of exactly this size, so that valgrind sees a byte too many */
    memcpy(cut, bytes, length);
    EXPECT(RNN_ERROR_FORMAT, rnn_network_load_memory(cut, length, NULL, &refused));
    CHECK(refused == NULL);
    free(cut);
  }
  printf("  %zu lengths; the last one: %s\n", count - 1, rnn_last_error_message());

  SECTION("a limit on parameters");
  rnn_load_options limit = RNN_LOAD_OPTIONS_INIT;
  limit.max_parameters = 3 * H * (I + H) + 3 * H - 1;
  CHECK(rnn_network_load(path, &limit, &refused) < 0 && refused == NULL);
  printf("  %s\n", rnn_last_error_message());
  limit.max_parameters++;
  MUST(rnn_network_load(path, &limit, &refused));
  rnn_network_destroy(refused);

  SECTION("paths that cannot be");
  refused = network;
  EXPECT(RNN_ERROR_IO, rnn_network_load("no/such/folder/model.safetensors", NULL, &refused));
  CHECK(refused == NULL);
  EXPECT(RNN_ERROR_IO, rnn_network_save(network, "no/such/folder/model.safetensors", NULL));
  printf("  %s\n", rnn_last_error_message());

  free(bytes);
  remove(path);
  rnn_network_destroy(network);
  rnn_network_destroy(loaded);
  rnn_network_destroy(from_memory);
  return finish();
}
