/* Runs sound through a model of an amplifier or pedal, in blocks, as an audio callback would.
 *
 *     cc -std=c99 amp.c $(pkg-config --cflags --libs rnn) -o amp
 *     librnn convert amp.nam amp.safetensors
 *     sox dry.wav -t f32 -c 1 -r 48000 - | ./amp amp.safetensors | sox -t f32 -c 1 -r 48000 - wet.wav
 *
 * Standard input and output are float32 samples in one channel. Further arguments are the settings of a conditioned model, one for
 * each input beside the sound: ./amp amp.safetensors 0.5
 */
#include <rnn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BLOCK = 64, MOST_INPUTS = 16 };

static int failed(const char *what) {
  fprintf(stderr, "amp: %s: %s\n", what, rnn_last_error_message());
  return 1;
}

/** An entry of the model's metadata; "" if there is none. */
static const char *metadata(rnn_network *network, const char *key, char *value, size_t size) {
  if (rnn_network_metadata_get(network, key, value, size, NULL) != RNN_OK) value[0] = 0;
  return value;
}

/** A block of sound through the stream: what a callback of an audio device does. Nothing here allocates or waits. */
static rnn_status process(rnn_stream *stream, const float *sound, size_t frames, const float *settings, size_t inputs, float *out) {
  float x[BLOCK * MOST_INPUTS]; /* [frames, inputs] */
  for (size_t t = 0; t < frames; t++) {
    x[t * inputs] = sound[t];
    memcpy(x + t * inputs + 1, settings, (inputs - 1) * sizeof *x);
  }
  return rnn_stream_process(stream, frames, x, frames * inputs, NULL, 0, out, frames);
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s MODEL [SETTING...] < IN.f32 > OUT.f32\n", argv[0]);
    return 2;
  }
  rnn_network *network = NULL;
  rnn_stream *stream = NULL;
  rnn_network_info info = RNN_NETWORK_INFO_INIT;
  if (rnn_network_load(argv[1], NULL, &network)) return failed(argv[1]);
  if (rnn_network_describe(network, &info)) return failed("the network");
  const int is_sound = info.input_size >= 1 && info.input_size <= MOST_INPUTS && info.output_size == 1 && info.token_count == 0;
  if (info.dtype != RNN_DTYPE_FLOAT32 || !is_sound)
    return fprintf(stderr, "amp: %s is no model of sound\n", argv[1]), 1;
  if ((size_t)argc - 2 != info.input_size - 1)
    return fprintf(stderr, "amp: %s has %zu settings, %d were given\n", argv[1], info.input_size - 1, argc - 2), 1;
  float settings[MOST_INPUTS];
  for (int i = 2; i < argc; i++) settings[i - 2] = strtof(argv[i], NULL);
  if (rnn_stream_create(network, NULL, &stream)) return failed("a stream");

  char format[32], text[32];
  const double rate = atof(metadata(network, "audio.sample_rate", text, sizeof text));
  float in[BLOCK] = { 0 }, out[BLOCK];
  if (!strcmp(metadata(network, "audio.format", format, sizeof format), "NAM")) {
    /* Its plug-in lets a model run over half a second of silence first. */
    for (size_t left = (size_t)(0.5 * (rate > 0 ? rate : 48000)); left > 0;) {
      const size_t frames = left < BLOCK ? left : BLOCK;
      if (process(stream, in, frames, settings, info.input_size, out)) return failed("silence");
      left -= frames;
    }
  }

  size_t frames, total = 0;
  clock_t busy = 0;
  while ((frames = fread(in, sizeof *in, BLOCK, stdin)) > 0) {
    const clock_t start = clock();
    if (process(stream, in, frames, settings, info.input_size, out)) return failed("a block");
    busy += clock() - start;
    if (fwrite(out, sizeof *out, frames, stdout) != frames) return perror("amp"), 1;
    total += frames;
  }
  if (rate > 0 && busy > 0)
    fprintf(stderr, "amp: %.2f s of sound at %.0f Hz in %.2f s\n", (double)total / rate, rate, (double)busy / CLOCKS_PER_SEC);
  rnn_stream_destroy(stream);
  rnn_network_destroy(network);
  return 0;
}
