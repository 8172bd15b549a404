/* Reads the word in a picture: convolutions in C, then a bidirectional LSTM and CTC's greedy decoding with librnn.
 *
 *     cc -std=c99 -O3 ocr.c $(pkg-config --cflags --libs rnn) -lm -o ocr
 *     ./ocr ocr.safetensors ocr.f32 < word.pgm            # 128 x 32 grey: ocr.py --pgm writes one
 *
 * The two files are those of convert.py. Arrays are [channels, height, width].
 */
#include <math.h>
#include <rnn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEIGHT = 32, WIDTH = 128, CONVOLUTIONS = 6, LARGEST = 64 * 34 * 130 };
enum pooling { NONE, BOTH, HALF_HEIGHT };

typedef struct {
  size_t outputs, inputs, kernel, padding;
  enum pooling pooling;
} convolution;

static const convolution LAYERS[CONVOLUTIONS] = {
  { 64, 1, 3, 1, BOTH },          { 128, 64, 3, 1, BOTH },        { 256, 128, 3, 1, NONE },
  { 256, 256, 3, 1, HALF_HEIGHT }, { 512, 256, 3, 1, HALF_HEIGHT }, { 512, 512, 2, 0, NONE },
};

typedef struct {
  size_t channels, height, width;
  float *values;
} image;

static int failed(const char *what) {
  fprintf(stderr, "ocr: %s: %s\n", what, rnn_last_error_message());
  return 1;
}

static void *allocated(size_t count, size_t size) {
  void *memory = calloc(count, size);
  if (memory == NULL) fputs("ocr: no memory\n", stderr), exit(1);
  return memory;
}

/** The image with zeros around it. */
static void pad(const image *x, size_t padding, image *out) {
  *out = (image){ x->channels, x->height + 2 * padding, x->width + 2 * padding, out->values };
  memset(out->values, 0, out->channels * out->height * out->width * sizeof *out->values);
  for (size_t c = 0; c < x->channels; c++)
    for (size_t h = 0; h < x->height; h++)
      memcpy(out->values + (c * out->height + h + padding) * out->width + padding, x->values + (c * x->height + h) * x->width,
             x->width * sizeof *x->values);
}

/** max(0, weight * x + bias), without padding; weight [outputs, inputs, kernel, kernel]. */
static void convolve(const image *x, const convolution *layer, const float *weight, const float *bias, image *out) {
  *out = (image){ layer->outputs, x->height - layer->kernel + 1, x->width - layer->kernel + 1, out->values };
  for (size_t o = 0; o < out->channels; o++) {
    float *plane = out->values + o * out->height * out->width;
    for (size_t i = 0; i < out->height * out->width; i++) plane[i] = bias[o];
    for (size_t c = 0; c < x->channels; c++)
      for (size_t k = 0; k < layer->kernel; k++)
        for (size_t l = 0; l < layer->kernel; l++) {
          const float factor = *weight++;
          for (size_t h = 0; h < out->height; h++) {
            const float *row = x->values + (c * x->height + h + k) * x->width + l;
            for (size_t w = 0; w < out->width; w++) plane[h * out->width + w] += factor * row[w];
          }
        }
    for (size_t i = 0; i < out->height * out->width; i++) plane[i] = plane[i] > 0 ? plane[i] : 0;
  }
}

/** The largest of 2 x 2 values: halves height and width; or the height only, where each pair of neighbours gives a value, and the
 *  edges one each. */
static void pool(const image *x, enum pooling pooling, image *out) {
  const int both = pooling == BOTH;
  *out = (image){ x->channels, x->height / 2, both ? x->width / 2 : x->width + 1, out->values };
  for (size_t c = 0; c < out->channels; c++)
    for (size_t h = 0; h < out->height; h++)
      for (size_t w = 0; w < out->width; w++) {
        const float *top = x->values + (c * x->height + 2 * h) * x->width, *bottom = top + x->width;
        const size_t right = both ? 2 * w + 1 : w < x->width ? w : w - 1, left = both ? 2 * w : w > 0 ? w - 1 : 0;
        out->values[(c * out->height + h) * out->width + w] = fmaxf(fmaxf(top[left], top[right]), fmaxf(bottom[left], bottom[right]));
      }
}

/** Features [T, 512] of a picture, T from left to right; `file` has weights and biases. */
static float *front_end(image x, FILE *file, size_t *out_T) {
  image other = { 0, 0, 0, allocated(LARGEST, sizeof(float)) };
  for (size_t i = 0; i < CONVOLUTIONS; i++) {
    const convolution *layer = LAYERS + i;
    const size_t weights = layer->outputs * layer->inputs * layer->kernel * layer->kernel;
    float *numbers = allocated(weights + layer->outputs, sizeof *numbers);
    if (fread(numbers, sizeof *numbers, weights + layer->outputs, file) != weights + layer->outputs)
      fputs("ocr: the file of convolutions is cut short\n", stderr), exit(1);
    pad(&x, layer->padding, &other);
    convolve(&other, layer, numbers, numbers + weights, &x);
    free(numbers);
    if (layer->pooling != NONE) {
      const image swap = x;
      pool(&swap, layer->pooling, &other);
      x = other, other = swap;
    }
  }
  /* [C, 1, T] to [T, C]. */
  for (size_t c = 0; c < x.channels; c++)
    for (size_t t = 0; t < x.width; t++) other.values[t * x.channels + c] = x.values[c * x.width + t];
  free(x.values);
  *out_T = x.width;
  return other.values;
}

/** CTC, greedily: prints the likeliest class of each step, without repetitions and blanks (class 0), and the mean probability. */
static void print_decoded(const float *logits, size_t T, size_t classes, const char *characters) {
  size_t before = 0, kept = 0;
  double sum = 0;
  for (size_t t = 0; t < T; t++, logits += classes) {
    size_t best = 0;
    double total = 0;
    for (size_t i = 1; i < classes; i++)
      if (logits[i] > logits[best]) best = i;
    for (size_t i = 0; i < classes; i++) total += exp((double)logits[i] - logits[best]);
    if (best != 0 && best != before) putchar(characters[best - 1]), kept++, sum += 1 / total;
    before = best;
  }
  printf("  %.2f\n", kept ? sum / (double)kept : 0.0);
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s MODEL CONVOLUTIONS < word.pgm\n", argv[0]);
    return 2;
  }
  rnn_network *network = NULL;
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  char characters[256];
  size_t count = 0;
  if (rnn_network_load(argv[1], NULL, &network)) return failed(argv[1]);
  if (rnn_network_describe(network, &info)) return failed("the network");
  if (rnn_network_metadata_get(network, "characters", characters, sizeof characters, &count)) return failed("characters");
  FILE *file = fopen(argv[2], "rb");
  if (file == NULL) return perror(argv[2]), 1;
  if (info.dtype != RNN_DTYPE_FLOAT32 || info.input_size != 512 || info.output_size != count + 1)
    return fprintf(stderr, "ocr: %s is no model of convert.py\n", argv[1]), 1;

  int width, height, largest;
  static unsigned char pixels[HEIGHT * WIDTH];
  if (scanf("P5 %d %d %d", &width, &height, &largest) != 3 || width != WIDTH || height != HEIGHT || largest != 255 ||
      getchar() == EOF || fread(pixels, 1, sizeof pixels, stdin) != sizeof pixels)
    return fprintf(stderr, "ocr: expected a binary PGM of %d x %d pixels\n", WIDTH, HEIGHT), 1;
  image picture = { 1, HEIGHT, WIDTH, allocated(LARGEST, sizeof(float)) };
  for (size_t i = 0; i < sizeof pixels; i++) picture.values[i] = (float)pixels[i] / 255 * 2 - 1;

  size_t T;
  float *features = front_end(picture, file, &T), *logits = allocated(T * info.output_size, sizeof *logits);
  fclose(file);
  if (rnn_network_run(network, T, 1, features, T * 512, NULL, 0, NULL, 0, NULL, logits, T * info.output_size, NULL))
    return failed("a run");
  print_decoded(logits, T, info.output_size, characters);

  free(features);
  free(logits);
  rnn_network_destroy(network);
  return 0;
}
