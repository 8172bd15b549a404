/* Words that are spelled like another: the vectors of chars2vec, computed by librnn.
 *
 *     cc -std=c99 nearest.c $(pkg-config --cflags --libs rnn) -lm -o nearest
 *     ./nearest eng_50.safetensors recurent < words.txt        # a word on each line; prints the five nearest and their distance
 */
#include <ctype.h>
#include <math.h>
#include <rnn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NEAREST = 5, LONGEST = 100 };

typedef struct {
  rnn_network *network;
  size_t dim;
  char characters[512]; /* their numbers are their places */
  size_t count;
} encoder;

typedef struct {
  char word[LONGEST + 1];
  double distance;
} neighbour;

static int failed(const char *what) {
  fprintf(stderr, "nearest: %s: %s\n", what, rnn_last_error_message());
  return 1;
}

/** The vector of a word in UTF-8, [dim]: h of the last layer after its last character. Unknown characters are zeros. */
static rnn_status vector_of(const encoder *encoder, const char *word, float *vector) {
  static float x[LONGEST * 512];
  const size_t width = encoder->count;
  size_t T = 0;
  memset(x, 0, strlen(word) * width * sizeof *x);
  for (; *word; word++) {
    if ((*word & 0xC0) == 0x80) continue; /* not the first byte of a character */
    const char *place = strchr(encoder->characters, tolower((unsigned char)*word));
    if (place != NULL) x[T * width + (size_t)(place - encoder->characters)] = 1;
    T++;
  }
  return rnn_network_run(encoder->network, T, 1, x, T * width, NULL, 0, NULL, 0, NULL, vector, encoder->dim, NULL);
}

static double distance(const float *a, const float *b, size_t dim) {
  double sum = 0;
  for (size_t i = 0; i < dim; i++) sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
  return sqrt(sum);
}

/** Puts a word in its place among the nearest, which are sorted. */
static void insert(neighbour *nearest, const char *word, double d) {
  size_t place = NEAREST;
  while (place > 0 && d < nearest[place - 1].distance) place--;
  if (place == NEAREST) return;
  memmove(nearest + place + 1, nearest + place, (NEAREST - 1 - place) * sizeof *nearest);
  nearest[place].distance = d;
  strcpy(nearest[place].word, word);
}

int main(int argc, char **argv) {
  if (argc != 3 || argv[2][0] == 0 || strlen(argv[2]) > LONGEST) {
    fprintf(stderr, "usage: %s MODEL WORD < WORDS\n", argv[0]);
    return 2;
  }
  encoder encoder = { NULL, 0, "", 0 };
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  if (rnn_network_load(argv[1], NULL, &encoder.network)) return failed(argv[1]);
  if (rnn_network_describe(encoder.network, &info)) return failed("the network");
  if (rnn_network_metadata_get(encoder.network, "characters", encoder.characters, sizeof encoder.characters, &encoder.count))
    return failed("characters");
  encoder.dim = info.output_size;
  if (info.dtype != RNN_DTYPE_FLOAT32 || !info.single_step_output || info.input_size != encoder.count)
    return fprintf(stderr, "nearest: %s is no model of convert.py\n", argv[1]), 1;

  float *wanted = malloc(2 * encoder.dim * sizeof *wanted), *vector = wanted + encoder.dim;
  if (wanted == NULL) return fputs("nearest: no memory\n", stderr), 1;
  if (vector_of(&encoder, argv[2], wanted)) return failed(argv[2]);

  neighbour nearest[NEAREST];
  for (size_t i = 0; i < NEAREST; i++) nearest[i].word[0] = 0, nearest[i].distance = HUGE_VAL;
  char line[LONGEST + 2];
  while (fgets(line, sizeof line, stdin) != NULL) {
    line[strcspn(line, "\r\n")] = 0;
    if (line[0] == 0) continue;
    if (strlen(line) > LONGEST) return fprintf(stderr, "nearest: a word of more than %d characters\n", LONGEST), 1;
    if (vector_of(&encoder, line, vector)) return failed(line);
    insert(nearest, line, distance(wanted, vector, encoder.dim));
  }
  for (size_t i = 0; i < NEAREST && nearest[i].word[0]; i++) printf("%.4f %s\n", nearest[i].distance, nearest[i].word);

  free(wanted);
  rnn_network_destroy(encoder.network);
  return 0;
}
