/* The limits of this machine: peak of fused multiply-adds, and how fast one thread reads from each cache.
 *
 *     peak [THREADS]...       one line of JSON */
#include "measure.h"

#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments) {
  printf("{\"fma_gflops\": {");
  for (int i = 1; i < count; i++) {
    const int threads = atoi(arguments[i]);
    if (threads < 1) {
      fprintf(stderr, "a number of threads, not %s\n", arguments[i]);
      return 1;
    }
    printf("%s\"%d\": %.2f", i > 1 ? ", " : "", threads, fma_peak(threads, 0.3));
  }
  pin();
  const size_t sizes[] = {16u << 10, 512u << 10, 8u << 20, 256u << 20};
  const char *const names[] = {"16 KiB", "512 KiB", "8 MiB", "256 MiB"};
  printf("}, \"read_gbytes\": {");
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    printf("%s\"%s\": %.1f", i ? ", " : "", names[i], read_rate(sizes[i], 0.1) / 1e9);
  }
  printf("}}\n");
  return 0;
}
