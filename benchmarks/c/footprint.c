/* What librnn.so costs a process that has nothing else: the time to load it, the time to the first result, and resident memory
 * after some steps of an LSTM. The library is opened here, so that its load can be timed.
 *
 *     footprint LIBRARY [HIDDEN]       one line of JSON */
#define _GNU_SOURCE
#include "measure.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rnn.h"

static double resident(const char *key) {
  FILE *file = fopen("/proc/self/status", "r");
  char line[256];
  double found = -1;
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    if (strncmp(line, key, strlen(key)) == 0) found = atof(line + strlen(key) + 1) / 1024;
  }
  if (file != NULL) fclose(file);
  return found;
}

static void *symbol(void *library, const char *name) {
  void *found = dlsym(library, name);
  if (found == NULL) {
    fprintf(stderr, "no %s: %s\n", name, dlerror());
    exit(1);
  }
  return found;
}

/* A pointer to a function of rnn.h with the function's own type; C99 has no cast from an object pointer to one. */
#define FIND(name)                  \
  __typeof__(name) *name##_;        \
  *(void **)&name##_ = symbol(library, #name)

#define CHECKED(call)                                                    \
  do {                                                                   \
    if ((call) != RNN_OK) {                                              \
      fprintf(stderr, "%s: %s\n", #call, rnn_last_error_message_());     \
      return 1;                                                          \
    }                                                                    \
  } while (0)

int main(int count, char **arguments) {
  if (count < 2) {
    fprintf(stderr, "usage: footprint LIBRARY [HIDDEN]\n");
    return 1;
  }
  const size_t hidden = count > 2 ? (size_t)atol(arguments[2]) : 64;
  const double before = resident("VmRSS"), start = now();
  void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  FIND(rnn_version_number);
  (void)rnn_version_number_();
  const double loaded = now();
  FIND(rnn_last_error_message);
  FIND(rnn_builder_create);
  FIND(rnn_builder_add_input);
  FIND(rnn_builder_add_recurrent);
  FIND(rnn_builder_build);
  FIND(rnn_stream_create);
  FIND(rnn_stream_step);
  rnn_builder *builder = NULL;
  rnn_network *network = NULL;
  rnn_stream *stream = NULL;
  rnn_recurrent_options lstm = RNN_RECURRENT_OPTIONS_INIT;
  lstm.cell = RNN_CELL_LSTM;
  lstm.hidden_size = hidden;
  CHECKED(rnn_builder_create_(NULL, &builder));
  CHECKED(rnn_builder_add_input_(builder, "x", hidden));
  CHECKED(rnn_builder_add_recurrent_(builder, "lstm", NULL, &lstm));
  CHECKED(rnn_builder_build_(builder, NULL, &network));
  CHECKED(rnn_stream_create_(network, NULL, &stream));
  for (int step = 0; step < 10; step++) CHECKED(rnn_stream_step_(stream));
  printf("{\"load_ms\": %.3f, \"first_result_ms\": %.3f, \"resident_before_mb\": %.2f, \"resident_mb\": %.2f, "
         "\"peak_mb\": %.2f}\n",
         1e3 * (loaded - start), 1e3 * (now() - start), before, resident("VmRSS"), resident("VmHWM"));
  return 0;
}
