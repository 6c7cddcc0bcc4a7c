/* Latency of one frame in a C program, as `deal bench latency` runs it: one thread, one image a
 * call, difficulty head and all statistics of the image and of a grid of regions. Prints JSON.
 * Counts every allocation of the process while frames are scored.
 *
 *     bench_latency FRAMES CLASSES h w H W gh gw CELL
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "allocations.h"
#include "deal.h"

enum { DISTINCT = 8 };

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
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

/* Areas of 16 cells in which one class leads, with noise: what networks give for streets. */
static void fill(float* logits, int64_t classes, int64_t h, int64_t w, uint32_t state) {
  for (int64_t c = 0; c < classes; ++c) {
    for (int64_t y = 0; y < h; ++y) {
      for (int64_t x = 0; x < w; ++x) {
        state = state * 1664525u + 1013904223u;
        const uint32_t area = (uint32_t)(y / 16 * 131 + x / 16) * 2654435761u;
        const float lead = (int64_t)((area >> 8) % (uint32_t)classes) == c ? 6.0f : 0.0f;
        logits[(c * h + y) * w + x] = lead + (float)(state >> 8) / 16777216.0f * 2.0f;
      }
    }
  }
}

int main(int count, char** arguments) {
  int64_t number[9];
  if (count != 10) return 2;
  for (int i = 0; i < 9; ++i) number[i] = strtoll(arguments[i + 1], NULL, 10);
  const int64_t frames = number[0], C = number[1], h = number[2], w = number[3], H = number[4],
                W = number[5], gh = number[6], gw = number[7], cell = number[8];
  if (frames < 1 || C < 1 || C > DEAL_MAX_CLASSES || h < 1 || w < 1) return 2;

  float* data = malloc(sizeof(float) * (size_t)(DISTINCT * C * h * w));
  double* seconds = malloc(sizeof(double) * (size_t)frames);
  if (data == NULL || seconds == NULL) return 1;
  float weight[DEAL_MAX_CLASSES];
  for (int64_t c = 0; c < C; ++c) weight[c] = (float)(c * 7 % C) / (float)C - 0.5f;
  for (int64_t i = 0; i < DISTINCT; ++i) fill(data + i * C * h * w, C, h, w, (uint32_t)i);

  deal_context_options options = {sizeof options};
  options.threads = 1;
  deal_context* context = NULL;
  check(deal_context_create(&options, &context));
  deal_tensor logits = {
      sizeof logits, data, DEAL_FLOAT32, DEAL_CPU, 1, 1, C, h, w, {0, C * h * w, h * w, w, 1}};
  deal_head head = {sizeof head, weight, C, 0.8f, -0.4f, gh, gw, DEAL_ATTENTION_AUTO};
  deal_regions regions = {sizeof regions, DEAL_REGIONS_GRID, cell};
  deal_input input = {sizeof input, &logits, H, W, DEAL_ALIGN_CORNERS, &head, NULL, &regions};
  deal_sizes sizes = {sizeof sizes};
  check(deal_output_sizes(&input, &sizes));

  double difficulty, entropy, weighted;
  int64_t difficulty_hist[DEAL_HISTOGRAM_LEVELS], image_hist[DEAL_HISTOGRAM_LEVELS],
      entropy_hist[DEAL_HISTOGRAM_LEVELS], class_pixels[DEAL_MAX_CLASSES];
  double* region_difficulty = malloc(sizeof(double) * (size_t)sizes.regions);
  double* region_entropy = malloc(sizeof(double) * (size_t)sizes.regions);
  deal_output output = {sizeof output};
  output.difficulty_mean = &difficulty;
  output.entropy_mean = &entropy;
  output.difficulty_weighted_entropy_mean = &weighted;
  output.difficulty_hist = difficulty_hist;
  output.difficulty_hist_image = image_hist;
  output.entropy_hist = entropy_hist;
  output.class_pixels = class_pixels;
  output.region_difficulty_mean = region_difficulty;
  output.region_entropy_mean = region_entropy;
  check(deal_reserve(context, &input));

  double sum = 0.0;
  const long before = allocations;
  for (int64_t i = -100; i < frames; ++i) { /* 100 frames to warm up */
    logits.data = data + (i + 100) % DISTINCT * C * h * w;
    const double start = now();
    check(deal_enqueue(context, &input, &output, NULL));
    check(deal_finish(context));
    if (i >= 0) seconds[i] = now() - start;
    sum += difficulty;
  }
  const long during = allocations - before;
  qsort(seconds, (size_t)frames, sizeof *seconds, by_value);
  printf(
      "{\"frames\": %lld, \"mean_difficulty\": %.9f, \"counts_allocations\": %s, "
      "\"allocations\": %ld, \"build\": \"%s\"",
      (long long)frames, sum / (double)(frames + 100), COUNTS_ALLOCATIONS ? "true" : "false",
      during, deal_build_info());
  const struct {
    const char* name;
    double share;
  } points[] = {{"p25", 0.25}, {"p50", 0.5},     {"p75", 0.75},
                {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1.0}};
  for (size_t i = 0; i < sizeof points / sizeof *points; ++i) {
    int64_t at = (int64_t)(points[i].share * (double)frames);
    if (at >= frames) at = frames - 1;
    printf(", \"%s\": %.9f", points[i].name, seconds[at]);
  }
  printf("}\n");
  deal_context_destroy(context);
  free(data);
  free(seconds);
  free(region_difficulty);
  free(region_entropy);
  return 0;
}
