/* English words to phonemes, with the model files of convert.py. Needs librnn only.
 *
 *     cc -std=c99 -O2 g2p.c $(pkg-config --cflags --libs rnn) -o g2p
 *     ./g2p encoder.safetensors decoder.safetensors recurrent kubernetes
 *     ./g2p encoder.safetensors decoder.safetensors < words.txt          one word a line
 *
 * The encoder reads the letters; its final state is the decoder's first one. The decoder reads the phoneme that it wrote last, and
 * the likeliest next one is taken. That is what g2p.py does, with the same bits.
 */
#include <ctype.h>
#include <rnn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LETTERS = 255, MOST_PHONEMES = 20 /* the package's limits: none, and 20 */ };

static int failed(const char *what) {
  fprintf(stderr, "g2p: %s: %s\n", what, rnn_last_error_message());
  return 1;
}

/* ------------------------------------------------------------------------------------------------------ vocabulary */

typedef struct vocabulary {
  char *text; /* the names, each ended by 0 */
  const char **names;
  size_t count;
} vocabulary;

/** Reads the names that metadata entry `key` lists, separated by spaces. */
static int read_vocabulary(rnn_network *network, const char *key, vocabulary *out) {
  size_t length = 0;
  if (rnn_network_metadata_get(network, key, NULL, 0, &length)) return failed(key);
  out->text = malloc(length + 1);
  out->names = malloc((length + 1) * sizeof *out->names);
  out->count = 0;
  if (out->text == NULL || out->names == NULL) return fputs("g2p: no memory\n", stderr), 1;
  if (rnn_network_metadata_get(network, key, out->text, length + 1, NULL)) return failed(key);
  for (char *name = strtok(out->text, " "); name != NULL; name = strtok(NULL, " ")) out->names[out->count++] = name;
  return 0;
}

/** The number of a name; `otherwise` if it is not there. */
static int64_t number_of(const vocabulary *of, const char *name, int64_t otherwise) {
  for (size_t i = 0; i < of->count; i++)
    if (strcmp(of->names[i], name) == 0) return (int64_t)i;
  return otherwise;
}

/* ----------------------------------------------------------------------------------------------------------- model */

typedef struct g2p {
  rnn_network *encoder, *decoder;
  rnn_state *state;    /* of the encoder; the decoder has the same one */
  rnn_stream *stream;  /* of the decoder */
  int64_t *token;      /* the stream's memory: what it reads */
  float *logits;       /* and what it writes, one for each phoneme */
  float *read;         /* [H]: the encoder's output, which is in the state too */
  size_t logit_count, read_count;
  vocabulary letters, phonemes;
  int64_t unknown, word_end, begin, end;
} g2p;

static int open_models(g2p *model, const char *encoder, const char *decoder) {
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  size_t tokens = 0;
  if (rnn_network_load(encoder, NULL, &model->encoder)) return failed(encoder);
  if (rnn_network_load(decoder, NULL, &model->decoder)) return failed(decoder);
  if (read_vocabulary(model->encoder, "letters", &model->letters)) return 1;
  if (read_vocabulary(model->decoder, "phonemes", &model->phonemes)) return 1;
  if (rnn_network_describe(model->encoder, &info)) return failed(encoder);
  if (rnn_state_create(model->encoder, NULL, &model->state)) return failed("state");
  if (rnn_stream_create(model->decoder, NULL, &model->stream)) return failed("stream");
  if (rnn_stream_tokens(model->stream, &model->token, &tokens)) return failed("tokens");
  if (rnn_stream_output(model->stream, &model->logits, &model->logit_count)) return failed("logits");
  model->read_count = info.output_size;
  model->read = malloc(info.output_size * sizeof(float));
  if (model->read == NULL) return fputs("g2p: no memory\n", stderr), 1;
  model->unknown = number_of(&model->letters, "<unk>", -1);
  model->word_end = number_of(&model->letters, "</s>", -1);
  model->begin = number_of(&model->phonemes, "<s>", -1);
  model->end = number_of(&model->phonemes, "</s>", -1);
  if (model->unknown < 0 || model->word_end < 0 || model->begin < 0 || model->end < 0 || tokens != 1 ||
      model->logit_count != model->phonemes.count || !info.single_step_output)
    return fputs("g2p: these are no models of convert.py\n", stderr), 1;
  return 0;
}

static void close_models(g2p *model) {
  rnn_stream_destroy(model->stream);
  rnn_state_destroy(model->state);
  rnn_network_destroy(model->decoder);
  rnn_network_destroy(model->encoder);
  free(model->read);
  free(model->letters.names);
  free(model->letters.text);
  free(model->phonemes.names);
  free(model->phonemes.text);
}

/** Prints a word, a tab and its phonemes. */
static int pronounce(g2p *model, const char *word) {
  int64_t tokens[MOST_LETTERS + 1];
  size_t count = 0;
  for (const char *at = word; *at; at++) {
    if ((*at & 0xC0) == 0x80) continue; /* a character of UTF-8 is one letter, whatever its bytes */
    if (count == MOST_LETTERS) return fprintf(stderr, "g2p: a word of more than %d letters\n", MOST_LETTERS), 1;
    const char letter[2] = {(char)tolower((unsigned char)*at), 0};
    tokens[count++] = number_of(&model->letters, letter, model->unknown);
  }
  tokens[count++] = model->word_end;

  if (rnn_state_reset(model->state)) return failed("state");
  if (rnn_network_run(model->encoder, count, 1, NULL, 0, tokens, count, NULL, 0, model->state, model->read, model->read_count, NULL))
    return failed("encoder");
  if (rnn_stream_state_set(model->stream, model->state)) return failed("the decoder's first state");

  printf("%s\t", word);
  *model->token = model->begin;
  for (int i = 0; i < MOST_PHONEMES; i++) {
    if (rnn_stream_step(model->stream)) return failed("decoder");
    size_t best = 0;
    for (size_t j = 1; j < model->logit_count; j++)
      if (model->logits[j] > model->logits[best]) best = j;
    if ((int64_t)best == model->end) break;
    printf(i == 0 ? "%s" : " %s", model->phonemes.names[best]);
    *model->token = (int64_t)best;
  }
  putchar('\n');
  return 0;
}

/** A word from each line of stdin. */
static int pronounce_lines(g2p *model) {
  char line[4 * MOST_LETTERS + 2];
  while (fgets(line, sizeof line, stdin) != NULL) {
    line[strcspn(line, "\r\n")] = 0;
    if (*line && pronounce(model, line)) return 1;
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 3) return fprintf(stderr, "usage: %s ENCODER DECODER [WORD …]\n", argv[0]), 2;
  g2p model = {0};
  int status = open_models(&model, argv[1], argv[2]);
  if (status == 0 && argc == 3) status = pronounce_lines(&model);
  for (int i = 3; i < argc && status == 0; i++) status = pronounce(&model, argv[i]);
  close_models(&model);
  return status;
}
