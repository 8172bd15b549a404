/* Removes noise from speech while it goes on: NSNet2, converted from its ONNX file. Needs librnn and libm.
 *
 *     cc -std=c99 -O3 denoise.c $(pkg-config --cflags --libs rnn) -lm -o denoise
 *     arecord -q -t raw -f S16_LE -r 16000 -c 1 | ./denoise nsnet2.safetensors | aplay -q -t raw -f S16_LE -r 16000 -c 1
 *     ./denoise nsnet2.safetensors < noisy.raw > clean.raw
 *
 * Reads 16000 samples a second, 16 bits each, from stdin, and writes as many to stdout, 20 ms later. Every 10 ms it looks at a window of
 * 20 ms: the logarithms of the power at 161 frequencies are one step of a stream, and its output is a gain for each frequency. The
 * window goes back into sound with these gains, and half of each window overlaps the next one. Nothing is allocated after the start.
 */
#define _POSIX_C_SOURCE 199309L /* clock_gettime */
#include <math.h>
#include <rnn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { RATE = 16000, HOP = RATE / 100, WINDOW = 2 * HOP, BINS = WINDOW / 2 + 1 };
static const double pi = 3.14159265358979323846;
static const double least_power = 1e-12, least_gain = 1e-4; /* -80 dB: some noise is left, which sounds better than none */

static int failed(const char *what) {
  fprintf(stderr, "denoise: %s: %s\n", what, rnn_last_error_message());
  return 1;
}

/* ----------------------------------------------------------------------------------------------- Fourier transform */

typedef struct tables {
  double window[WINDOW];                 /* the square root of a Hann window, before and after */
  double cosine[WINDOW], sine[WINDOW];   /* of 2 pi n / WINDOW */
} tables;

static void make_tables(tables *t) {
  for (int n = 0; n < WINDOW; n++) {
    t->window[n] = sqrt(0.5 - 0.5 * cos(2 * pi * n / (WINDOW - 1)));
    t->cosine[n] = cos(2 * pi * n / WINDOW);
    t->sine[n] = sin(2 * pi * n / WINDOW);
  }
}

/** The spectrum of a window: real + i imaginary = sum over n of x_n e^(-2 pi i n k / WINDOW). */
static void analyse(const tables *t, const double x[WINDOW], double real[BINS], double imaginary[BINS]) {
  for (int k = 0; k < BINS; k++) {
    double re = 0, im = 0;
    for (int n = 0, angle = 0; n < WINDOW; n++) {
      re += x[n] * t->cosine[angle];
      im -= x[n] * t->sine[angle];
      angle += k; /* n k modulo WINDOW */
      if (angle >= WINDOW) angle -= WINDOW;
    }
    real[k] = re;
    imaginary[k] = im;
  }
}

/** And back. Frequencies between the first and the last stand for two, of which one is the conjugate of the other. */
static void synthesise(const tables *t, const double real[BINS], const double imaginary[BINS], double x[WINDOW]) {
  for (int n = 0; n < WINDOW; n++) {
    double sum = 0;
    for (int k = 0, angle = 0; k < BINS; k++) {
      const double part = real[k] * t->cosine[angle] - imaginary[k] * t->sine[angle];
      sum += k == 0 || k == BINS - 1 ? part : 2 * part;
      angle += n;
      if (angle >= WINDOW) angle -= WINDOW;
    }
    x[n] = sum / WINDOW;
  }
}

/* ------------------------------------------------------------------------------------------------------ one window */

typedef struct denoiser {
  rnn_stream *stream;
  float *features, *gains; /* [BINS] each: the stream's memory */
  tables tables;
  double heard[WINDOW];    /* the last samples that came */
  double said[WINDOW];     /* sums of the windows that went out: the first half is complete */
} denoiser;

/** Takes HOP new samples. */
static void hear(denoiser *d, const int16_t samples[HOP]) {
  memmove(d->heard, d->heard + HOP, HOP * sizeof *d->heard);
  for (int n = 0; n < HOP; n++) d->heard[HOP + n] = samples[n] / 32768.0;
}

/** Completes the sound of the older half of what was heard: said[0] to said[HOP - 1]. */
static int denoise(denoiser *d) {
  double x[WINDOW], real[BINS], imaginary[BINS];
  memmove(d->said, d->said + HOP, HOP * sizeof *d->said);
  for (int n = 0; n < HOP; n++) d->said[HOP + n] = 0;

  for (int n = 0; n < WINDOW; n++) x[n] = d->tables.window[n] * d->heard[n];
  analyse(&d->tables, x, real, imaginary);
  for (int k = 0; k < BINS; k++)
    d->features[k] = (float)log10(fmax(real[k] * real[k] + imaginary[k] * imaginary[k], least_power));
  if (rnn_stream_step(d->stream)) return failed("step");
  for (int k = 0; k < BINS; k++) {
    const double gain = fmax(d->gains[k], least_gain);
    real[k] *= gain;
    imaginary[k] *= gain;
  }
  synthesise(&d->tables, real, imaginary, x);
  for (int n = 0; n < WINDOW; n++) d->said[n] += d->tables.window[n] * x[n];
  return 0;
}

static int open_model(denoiser *d, const char *path) {
  rnn_network *network = NULL;
  size_t feature_count = 0, gain_count = 0;
  memset(d, 0, sizeof *d);
  make_tables(&d->tables);
  if (rnn_network_load(path, NULL, &network)) return failed(path);
  if (rnn_stream_create(network, NULL, &d->stream)) return failed("stream");
  rnn_network_destroy(network); /* the stream keeps what it needs */
  if (rnn_stream_input(d->stream, &d->features, &feature_count)) return failed("features");
  if (rnn_stream_output(d->stream, &d->gains, &gain_count)) return failed("gains");
  if (feature_count == BINS && gain_count == BINS) return 0;
  return fprintf(stderr, "denoise: %s: %zu to %zu features, expected %d to %d\n", path, feature_count, gain_count, BINS, BINS), 1;
}

/* ------------------------------------------------------------------------------------------------------------ main */

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void write_samples(const double *x, size_t count) {
  int16_t samples[HOP];
  for (size_t n = 0; n < count; n++) samples[n] = (int16_t)lrint(fmin(fmax(32768 * x[n], -32768), 32767));
  fwrite(samples, sizeof *samples, count, stdout);
  fflush(stdout);
}

int main(int argc, char **argv) {
  static denoiser d;
  if (argc != 2) return fprintf(stderr, "usage: %s MODEL < NOISY > CLEAN\n", argv[0]), 2;
  if (open_model(&d, argv[1])) return 1;
  static char input_buffer[BUFSIZ], output_buffer[BUFSIZ]; /* so that stdio allocates none */
  setvbuf(stdin, input_buffer, _IOFBF, sizeof input_buffer);
  setvbuf(stdout, output_buffer, _IOFBF, sizeof output_buffer);

  int16_t samples[HOP];
  double total = 0, longest = 0;
  long windows = 0;
  size_t held = 0; /* samples that were heard, but not said: they wait for the window that begins with them to be full */
  do {
    const size_t count = fread(samples, sizeof *samples, HOP, stdin);
    memset(samples + count, 0, (HOP - count) * sizeof *samples); /* after the end comes silence */
    const double begin = seconds();
    hear(&d, samples);
    if (held > 0) {
      if (denoise(&d)) return 1;
      const double taken = seconds() - begin;
      total += taken;
      longest = fmax(longest, taken);
      windows++;
      write_samples(d.said, held);
    }
    held = count;
  } while (held > 0);
  if (ferror(stdin)) return perror("denoise: stdin"), 1;
  if (ferror(stdout)) return perror("denoise: stdout"), 1;
  if (windows > 0)
    fprintf(stderr, "denoise: %ld windows, one each 10 ms; %.0f us for each, %.0f us the longest\n", windows, 1e6 * total / windows,
            1e6 * longest);
  rnn_stream_destroy(d.stream);
  return 0;
}
