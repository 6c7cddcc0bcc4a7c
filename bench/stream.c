/* What a frame costs in the selector of streams, as `deal bench stream` runs it: the CPU time of
 * every push of a made-up drive. Prints JSON. Counts every allocation of the process meanwhile.
 *
 *     bench_stream FRAMES BUDGET FRAMES_PER_SECOND GAP_NS NEAR_LEVELS
 *
 * NEAR_LEVELS below 0 compares no signatures.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "allocations.h"
#include "deal_stream.h"

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int by_value(const void* left, const void* right) {
  const double a = *(const double*)left, b = *(const double*)right;
  return (a > b) - (a < b);
}

static void check(deal_status status) {
  if (status == DEAL_OK) return;
  fprintf(stderr, "%s\n", deal_last_error());
  exit(1);
}

static uint64_t state = 1;

static double uniform(void) { /* splitmix64 */
  uint64_t z = (state += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* A drive: scores that wander and rise a little, scenes that stay for some seconds. */
static void drive(double* scores, uint8_t (*signatures)[DEAL_THUMBNAIL_BYTES], int64_t frames) {
  double level = 0.0;
  uint8_t scene[DEAL_THUMBNAIL_BYTES];
  for (int64_t i = 0; i < frames; ++i) {
    level = 0.99 * level + 0.1 * (uniform() - 0.5);
    scores[i] = fabs(level) + 0.05 * uniform() + 0.1 * (double)i / (double)frames;
    for (int k = 0; k < DEAL_THUMBNAIL_BYTES; ++k) {
      if (i % 150 == 0) scene[k] = (uint8_t)(40.0 + 170.0 * uniform());
      signatures[i][k] = (uint8_t)(scene[k] + 8.0 * uniform());
    }
  }
}

int main(int count, char** arguments) {
  if (count != 6) return 2;
  const int64_t frames = strtoll(arguments[1], NULL, 10);
  const int64_t rate = strtoll(arguments[3], NULL, 10);
  const double near = strtod(arguments[5], NULL);
  if (frames < 1 || rate < 1) return 2;
  deal_stream_options options;
  DEAL_INIT(options);
  options.max_frames = strtoll(arguments[2], NULL, 10);
  options.min_gap_ns = strtoll(arguments[4], NULL, 10);
  if (near >= 0.0) options.near = DEAL_NEAR_ALL, options.near_threshold = near;
  int64_t size = 0;
  check(deal_stream_size(&options, &size));
  void* block = aligned_alloc(16, (size_t)size);
  double* scores = malloc(sizeof *scores * (size_t)frames);
  double* seconds = malloc(sizeof *seconds * (size_t)frames);
  uint8_t (*signatures)[DEAL_THUMBNAIL_BYTES] = malloc(sizeof *signatures * (size_t)frames);
  if (block == NULL || scores == NULL || seconds == NULL || signatures == NULL) return 1;
  drive(scores, signatures, frames);
  deal_stream* stream = NULL;
  check(deal_stream_init(&options, block, size, &stream));

  deal_decision decisions[64];
  deal_stream_frame frame;
  DEAL_INIT(frame);
  int64_t told = 0, writes = 0;
  const long before = allocations;
  for (int64_t i = 0; i < frames; ++i) {
    frame.id = frame.name_hash = (uint64_t)i;
    frame.timestamp_ns = i * 1000000000 / rate;
    frame.score = scores[i];
    frame.signature = signatures[i];
    const double start = now();
    check(deal_stream_push(stream, &frame, decisions, 64, &told));
    seconds[i] = now() - start;
    while (told > 0) {
      for (int64_t k = 0; k < told; ++k) writes += decisions[k].action == DEAL_KEEP;
      check(deal_stream_rest(stream, decisions, 64, &told));
    }
  }
  const long during = allocations - before;
  check(deal_stream_end(stream, decisions, 64, &told));
  while (told > 0) check(deal_stream_rest(stream, decisions, 64, &told));
  deal_stream_counters counters;
  DEAL_INIT(counters);
  check(deal_stream_count(stream, &counters));

  double clock[1000];
  for (int i = 0; i < 1000; ++i) {
    const double start = now();
    clock[i] = now() - start;
  }
  qsort(clock, 1000, sizeof *clock, by_value);
  qsort(seconds, (size_t)frames, sizeof *seconds, by_value);
  printf(
      "{\"frames\": %lld, \"kept\": %lld, \"forced\": %lld, \"overflow\": %lld, \"writes\": %lld, "
      "\"memory\": %lld, \"counts_allocations\": %s, \"allocations\": %ld, \"clock\": %.9f, "
      "\"build\": \"%s\"",
      (long long)frames, (long long)counters.ranked, (long long)counters.forced,
      (long long)counters.overflow, (long long)writes, (long long)size,
      COUNTS_ALLOCATIONS ? "true" : "false", during, clock[500], deal_build_info());
  const struct {
    const char* name;
    double share;
  } points[] = {{"p25", 0.25}, {"p50", 0.5}, {"p75", 0.75}, {"p99.9", 0.999}};
  for (size_t i = 0; i < sizeof points / sizeof *points; ++i) {
    int64_t at = (int64_t)(points[i].share * (double)frames);
    if (at >= frames) at = frames - 1;
    printf(", \"%s\": %.9f", points[i].name, seconds[at]);
  }
  printf("}\n");
  free(signatures);
  free(seconds);
  free(scores);
  free(block);
  return 0;
}
