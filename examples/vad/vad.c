/* Who is speaking when: Silero's voice activity detector on a microphone, with the model files of convert.py. Needs librnn and libm.
 *
 *     cc -std=c99 -O3 vad.c $(pkg-config --cflags --libs rnn) -lm -o vad
 *     arecord -q -t raw -f S16_LE -r 16000 -c 1 | ./vad front.safetensors lstm.safetensors
 *     ./vad -p front.safetensors lstm.safetensors < speech.raw          the probability of speech in each frame
 *
 * Reads 16000 samples a second, 16 bits each, from stdin. Every 512 samples (32 ms) are a frame: a front end without memory makes 128
 * features of it, an LSTM reads them as one step of a stream, and its output is the probability of speech. Each frame takes the same
 * time, and nothing is allocated after the start.
 */
#define _POSIX_C_SOURCE 199309L /* clock_gettime */
#include <math.h>
#include <rnn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
  RATE = 16000,
  FRAME = 512,   /* new samples */
  CONTEXT = 64,  /* samples of the frame before, which are looked at again */
  WINDOW = 256,  /* of the Fourier transform; the next one begins HOP samples later */
  HOP = 128,
  COLUMNS = 4,   /* windows in CONTEXT + FRAME samples, with HOP / 2 mirrored ones at the end */
  BINS = 129,    /* frequencies */
  TAPS = 3,      /* columns that a convolution reads for each one that it writes */
  FEATURES = 128
};

static int failed(const char *what) {
  fprintf(stderr, "vad: %s: %s\n", what, rnn_last_error_message());
  return 1;
}

/* ------------------------------------------------------------------------------------------------------- front end */

/* Weights are kept as [inputs, outputs]: the innermost loops run over neighbours in memory. */
static float stft_weight[WINDOW * 2 * BINS];
static float conv1_weight[TAPS * BINS * 128], conv1_bias[128];
static float conv2_weight[TAPS * 128 * 64], conv2_bias[64];
static float conv3_weight[TAPS * 64 * 64], conv3_bias[64];
static float conv4_weight[TAPS * 64 * FEATURES], conv4_bias[FEATURES];

/** Reads a parameter of exactly `count` numbers: rnn_network_parameter_get itself takes a shorter one too. */
static int read_parameter(rnn_network *front, const char *name, size_t count, float *out) {
  rnn_tensor_info info = RNN_TENSOR_INFO_INIT;
  if (rnn_network_parameter_get(front, name, out, count)) return failed(name);
  for (size_t i = 0; rnn_network_parameter_info(front, i, &info) == RNN_OK; i++)
    if (strcmp(info.name, name) == 0 && info.element_count == count) return 0;
  return fprintf(stderr, "vad: %s has another size than in the model of convert.py\n", name), 1;
}

/** Reads a parameter [outputs, inputs], and turns it to [inputs, outputs]. */
static int read_weight(rnn_network *front, const char *name, size_t inputs, size_t outputs, float *out) {
  static float stored[WINDOW * 2 * BINS]; /* the largest */
  if (read_parameter(front, name, inputs * outputs, stored)) return 1;
  for (size_t i = 0; i < inputs; i++)
    for (size_t o = 0; o < outputs; o++) out[i * outputs + o] = stored[o * inputs + i];
  return 0;
}

static int read_convolution(rnn_network *front, const char *weight_name, const char *bias_name, size_t inputs, size_t outputs,
                            float *weight, float *bias) {
  return read_weight(front, weight_name, TAPS * inputs, outputs, weight) || read_parameter(front, bias_name, outputs, bias);
}

static int read_front_end(const char *path) {
  rnn_network *front = NULL;
  if (rnn_network_load(path, NULL, &front)) return failed(path);
  const int status = read_weight(front, "stft.weight", WINDOW, 2 * BINS, stft_weight) ||
                     read_convolution(front, "conv1.weight", "conv1.bias", BINS, 128, conv1_weight, conv1_bias) ||
                     read_convolution(front, "conv2.weight", "conv2.bias", 128, 64, conv2_weight, conv2_bias) ||
                     read_convolution(front, "conv3.weight", "conv3.bias", 64, 64, conv3_weight, conv3_bias) ||
                     read_convolution(front, "conv4.weight", "conv4.bias", 64, FEATURES, conv4_weight, conv4_bias);
  rnn_network_destroy(front);
  return status;
}

/** y += x W: x [inputs], W [inputs, outputs], y [outputs]. */
static void add_product(const float *x, const float *weight, size_t inputs, size_t outputs, float *y) {
  for (size_t i = 0; i < inputs; i++)
    for (size_t o = 0; o < outputs; o++) y[o] += x[i] * weight[i * outputs + o];
}

/** Convolution over columns, and ReLU: x [columns, inputs], y [ceil(columns / stride), outputs]. Columns outside of x are 0. */
static void convolve(const float *x, size_t columns, size_t inputs, size_t stride, const float *weight, const float *bias,
                     size_t outputs, float *y) {
  for (size_t first = 0; first < columns; first += stride, y += outputs) {
    memcpy(y, bias, outputs * sizeof *y);
    for (size_t tap = 0; tap < TAPS; tap++) {
      const size_t column = first + tap; /* by one too large: the tap in the middle is at `first` */
      if (column >= 1 && column <= columns)
        add_product(x + (column - 1) * inputs, weight + tap * inputs * outputs, inputs, outputs, y);
    }
    for (size_t o = 0; o < outputs; o++) y[o] = y[o] > 0 ? y[o] : 0;
  }
}

/** The features of a frame. x [CONTEXT + FRAME]: samples in [-1, 1). */
static void front_end(const float x[CONTEXT + FRAME], float features[FEATURES]) {
  float samples[CONTEXT + FRAME + HOP / 2];
  float magnitude[COLUMNS * BINS], y1[COLUMNS * 128], y2[COLUMNS / 2 * 64], y3[64];
  memcpy(samples, x, (CONTEXT + FRAME) * sizeof *x);
  for (size_t i = 0; i < HOP / 2; i++) samples[CONTEXT + FRAME + i] = x[CONTEXT + FRAME - 2 - i]; /* mirrored */
  for (size_t column = 0; column < COLUMNS; column++) {
    float spectrum[2 * BINS] = {0}; /* real parts, then imaginary parts; the window function is in the weights */
    add_product(samples + column * HOP, stft_weight, WINDOW, 2 * BINS, spectrum);
    for (size_t k = 0; k < BINS; k++)
      magnitude[column * BINS + k] = sqrtf(spectrum[k] * spectrum[k] + spectrum[BINS + k] * spectrum[BINS + k]);
  }
  convolve(magnitude, COLUMNS, BINS, 1, conv1_weight, conv1_bias, 128, y1);
  convolve(y1, COLUMNS, 128, 2, conv2_weight, conv2_bias, 64, y2);
  convolve(y2, COLUMNS / 2, 64, 2, conv3_weight, conv3_bias, 64, y3);
  convolve(y3, 1, 64, 1, conv4_weight, conv4_bias, FEATURES, features);
}

/* ---------------------------------------------------------------------------------------------------------- speech */

/** When speech begins and ends, from the probabilities of the frames: the package's VADIterator. Times in samples. */
typedef struct speech {
  int speaking;
  long silent_since; /* where the pause began that may be the end; 0: there is none */
} speech;

enum { MINIMAL_PAUSE = RATE / 10, MARGIN = RATE * 3 / 100 };
static const float speech_above = 0.5f, silence_below = 0.35f;

static void print_time(long sample, char after) {
  printf("%.3f%c", (double)sample / RATE, after);
  fflush(stdout);
}

/** Prints where speech begins, as soon as that is known, and where it ended. end: the sample after this frame. */
static void follow(speech *state, float probability, long end) {
  if (probability >= speech_above) {
    state->silent_since = 0;
    if (!state->speaking) print_time(end - FRAME > MARGIN ? end - FRAME - MARGIN : 0, '\t');
    state->speaking = 1;
  } else if (probability < silence_below && state->speaking) {
    if (state->silent_since == 0) state->silent_since = end;
    if (end - state->silent_since < MINIMAL_PAUSE) return;
    print_time(state->silent_since + MARGIN - FRAME, '\n');
    state->speaking = 0;
    state->silent_since = 0;
  }
}

/* ------------------------------------------------------------------------------------------------------------ main */

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int argc, char **argv) {
  const int every_frame = argc > 1 && strcmp(argv[1], "-p") == 0;
  if (argc != 3 + every_frame) return fprintf(stderr, "usage: %s [-p] FRONT LSTM < SAMPLES\n", argv[0]), 2;
  const char *path = argv[2 + every_frame];

  rnn_network *network = NULL;
  rnn_stream *stream = NULL;
  float *features, *probability;
  size_t feature_count, probability_count;
  if (read_front_end(argv[1 + every_frame])) return 1;
  if (rnn_network_load(path, NULL, &network)) return failed(path);
  if (rnn_stream_create(network, NULL, &stream)) return failed("stream");
  rnn_network_destroy(network); /* the stream keeps what it needs */
  if (rnn_stream_input(stream, &features, &feature_count)) return failed("features");
  if (rnn_stream_output(stream, &probability, &probability_count)) return failed("probability");
  if (feature_count != FEATURES || probability_count != 1) return fprintf(stderr, "vad: %s is no model of convert.py\n", path), 1;

  static char input_buffer[BUFSIZ], output_buffer[BUFSIZ]; /* so that stdio allocates none */
  setvbuf(stdin, input_buffer, _IOFBF, sizeof input_buffer);
  setvbuf(stdout, output_buffer, _IOFBF, sizeof output_buffer);
  int16_t pcm[FRAME];
  float samples[CONTEXT + FRAME] = {0};
  speech state = {0, 0};
  double longest = 0, total = 0;
  long frames = 0, received = 0;
  for (size_t count; (count = fread(pcm, sizeof *pcm, FRAME, stdin)) > 0; frames++) {
    const double begin = seconds();
    memset(pcm + count, 0, (FRAME - count) * sizeof *pcm); /* the last frame may be short */
    memmove(samples, samples + FRAME, CONTEXT * sizeof *samples);
    for (size_t i = 0; i < FRAME; i++) samples[CONTEXT + i] = (float)pcm[i] / 32768;
    front_end(samples, features);
    if (rnn_stream_step(stream)) return failed("step");
    const double taken = seconds() - begin;
    total += taken;
    if (taken > longest) longest = taken;
    received += (long)count;
    if (every_frame) {
      printf("%.3f\t%.9g\n", (double)(frames * FRAME) / RATE, *probability);
      fflush(stdout);
    } else {
      follow(&state, *probability, (frames + 1) * FRAME);
    }
  }
  if (state.speaking) print_time(received, '\n');
  if (ferror(stdin)) return perror("vad: stdin"), 1;
  if (ferror(stdout)) return perror("vad: stdout"), 1;
  if (frames > 0)
    fprintf(stderr, "vad: %ld frames of 32 ms; %.0f us for each, %.0f us the longest\n", frames, 1e6 * total / frames, 1e6 * longest);
  rnn_stream_destroy(stream);
  return 0;
}
