/* Continues a text with the model of `make demo`, character by character. Needs librnn only.
 *
 *     cc -std=c99 continue.c $(pkg-config --cflags --libs rnn) -o continue
 *     ./continue demo-output/model.safetensors "The "
 *     ./continue MODEL PROMPT [LENGTH [SEED [TEMPERATURE]]]
 *
 * The vocabulary is in the model's metadata: one UTF-8 string, the characters in the order of their numbers; the first one stands
 * for all that are not in it. The same seed gives the same bytes as demo.py.
 */
#include <math.h>
#include <rnn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** Bytes of the UTF-8 character at `text`; 1 for a byte that begins none. */
static size_t character_length(const char *text) {
  const unsigned char first = (unsigned char)text[0];
  const size_t length = first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  for (size_t i = 1; i < length; i++)
    if ((text[i] & 0xC0) != 0x80) return 1;
  return length;
}

static int failed(const char *what) {
  fprintf(stderr, "continue: %s: %s\n", what, rnn_last_error_message());
  return 1;
}

int main(int argc, char **argv) {
  if (argc < 3 || argc > 6) {
    fprintf(stderr, "usage: %s MODEL PROMPT [LENGTH [SEED [TEMPERATURE]]]\n", argv[0]);
    return 2;
  }
  const char *prompt = argv[2];
  const size_t length = argc > 3 ? strtoul(argv[3], NULL, 10) : 500;
  rnn_sample_options sampling = RNN_SAMPLE_OPTIONS_INIT;
  sampling.seed = argc > 4 ? strtoull(argv[4], NULL, 10) : 1;
  sampling.temperature = argc > 5 ? strtod(argv[5], NULL) : 0.7;

  rnn_network *network = NULL;
  rnn_stream *stream = NULL;
  if (rnn_network_load(argv[1], NULL, &network)) return failed(argv[1]);

  /* The vocabulary: where each character begins. */
  size_t bytes = 0;
  if (rnn_network_metadata_get(network, "vocabulary", NULL, 0, &bytes)) return failed("vocabulary");
  char *vocabulary = malloc(bytes + 1);
  const char **characters = malloc((bytes + 1) * sizeof *characters);
  if (vocabulary == NULL || characters == NULL) return fputs("continue: no memory\n", stderr), 1;
  if (rnn_network_metadata_get(network, "vocabulary", vocabulary, bytes + 1, NULL)) return failed("vocabulary");
  size_t size = 0;
  for (const char *at = vocabulary; *at; at += character_length(at)) characters[size++] = at;

  /* A stream reads from and writes to memory of its own. */
  int64_t *token;
  float *logits;
  size_t token_count, logit_count;
  if (rnn_stream_create(network, NULL, &stream)) return failed("stream");
  if (rnn_stream_tokens(stream, &token, &token_count)) return failed("tokens");
  if (rnn_stream_output(stream, &logits, &logit_count)) return failed("logits");
  if (token_count != 1 || logit_count != size) return fputs("continue: this is no model of demo.py\n", stderr), 1;

  for (size_t i = 0; i < logit_count; i++) logits[i] = 0; /* no prompt: any character */
  for (const char *at = prompt; *at; at += character_length(at)) {
    const size_t bytes_here = character_length(at);
    *token = 0;
    for (size_t i = 1; i < size; i++)
      if (character_length(characters[i]) == bytes_here && memcmp(characters[i], at, bytes_here) == 0) *token = (int64_t)i;
    if (rnn_stream_step(stream)) return failed("step");
  }
  fputs(prompt, stdout);
  for (size_t position = 0; position < length; position++) {
    int64_t next;
    sampling.position = position;
    logits[0] = -INFINITY; /* never the one that stands for unknown characters */
    if (rnn_logits_sample(logits, logit_count, &sampling, &next)) return failed("sample");
    fwrite(characters[next], 1, character_length(characters[next]), stdout);
    fflush(stdout);
    *token = next;
    if (rnn_stream_step(stream)) return failed("step");
  }
  putchar('\n');

  rnn_stream_destroy(stream);
  rnn_network_destroy(network);
  free(characters);
  free(vocabulary);
  return 0;
}
