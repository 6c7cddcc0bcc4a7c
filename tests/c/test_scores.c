/* Scores, signatures and the size of a buffer from C11. The bits are compared with Python's in
 * tests/kernel/test_scores.py; the numbers here say that they are the same on every processor. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "allocations.h"
#include "deal.h"
#include "small_batch.h"

static uint64_t bits_of(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static deal_acquisition named(const char* name) {
  deal_acquisition a;
  DEAL_INIT(a);
  CHECK(deal_acquisition_find(name, &a.kind) == DEAL_OK);
  return a;
}

static void test_names_are_those_of_the_command_line(void) {
  int32_t kind = -1;
  CHECK(deal_acquisition_find("ds", &kind) == DEAL_OK && kind == DEAL_DS_NONE);
  CHECK(deal_acquisition_find("focus:ds-entropy", &kind) == DEAL_OK);
  CHECK(kind == DEAL_FOCUS_DS_ENTROPY);
  CHECK(deal_acquisition_find("core-set", &kind) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "core-set") != NULL && kind == DEAL_FOCUS_DS_ENTROPY);
  CHECK(deal_acquisition_find(NULL, &kind) == DEAL_ERROR_INVALID_ARGUMENT);
}

static void test_a_score_follows_from_the_statistics_without_memory(void) {
  double entropy[2] = {0.5, NAN}, sums[2 * 3] = {1.0, 2.0, 4.0, 0.0, 0.0, 0.0}, scores[2];
  int64_t pixels[2] = {10, 0}, hist[2 * 240] = {0}, counts[2 * 3] = {5, 3, 2, 0, 0, 0};
  hist[0] = 6, hist[239] = 4;
  deal_output o;
  DEAL_INIT(o);
  o.n_pixels = pixels, o.class_pixels = counts, o.class_entropy_sum = sums;
  o.entropy_mean = entropy, o.difficulty_hist_image = hist, o.difficulty_hist = hist;
  const long before = allocations;

  deal_acquisition a = named("entropy");
  CHECK(deal_score(&a, &o, 2, scores) == DEAL_OK && scores[0] == 0.5 && isnan(scores[1]));
  a = named("de");
  CHECK(deal_score(&a, &o, 2, scores) == DEAL_OK && isnan(scores[1]));
  CHECK(fabs(scores[0] + 0.6 * log(0.6) + 0.4 * log(0.4)) < 1e-15);
  CHECK(bits_of(scores[0]) == 0x3fe5894fc37432c8); /* on every processor */
  a = named("tail:difficulty"), a.tail = 0.4;
  CHECK(deal_score(&a, &o, 1, scores) == DEAL_OK && scores[0] == 239.5 / 240);
  const uint8_t focus[3] = {0, 1, 0};
  a = named("focus:entropy"), a.classes = 3, a.focus = focus;
  CHECK(deal_score(&a, &o, 2, scores) == DEAL_OK && scores[0] == 0.2 && isnan(scores[1]));
  const int64_t totals[3] = {0, 1, 1};
  a = named("balanced:entropy"), a.classes = 3, a.totals = totals;
  CHECK(deal_score(&a, &o, 2, scores) == DEAL_OK && isnan(scores[1]));
  CHECK(fabs(scores[0] - (1 / log(1.02) + 6 / log(1.52)) / 10) < 1e-13);
  const char* const ids[2] = {"a.jpg", "b.jpg"};
  const int64_t huge[3] = {INT64_MAX, INT64_MAX, INT64_MAX};
  a.totals = huge;
  CHECK(deal_score(&a, &o, 1, scores) == DEAL_OK && isfinite(scores[0]));
  a = named("random"), a.ids = ids;
  CHECK(deal_score(&a, &o, 2, scores) == DEAL_OK && scores[0] != scores[1]);
  CHECK(scores[0] >= 0.0 && scores[0] < 1.0);
  CHECK(allocations == before);
}

static void test_what_cannot_be_scored_is_refused(void) {
  double scores[2];
  deal_output o;
  DEAL_INIT(o);
  deal_acquisition a = named("de");
  CHECK(deal_score(&a, &o, 1, scores) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "difficulty_hist_image") != NULL);
  a.levels = 7;
  CHECK(deal_score(&a, &o, 1, scores) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "240") != NULL);
  a.levels = 8, a.kind = 99;
  CHECK(deal_score(&a, &o, 1, scores) == DEAL_ERROR_INVALID_ARGUMENT);
  a = named("focus:pixels"), a.classes = 300;
  CHECK(deal_score(&a, &o, 1, scores) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(deal_score(NULL, &o, 1, scores) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(deal_score(&a, &o, 0, scores) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(deal_score(&a, &o, 1, NULL) == DEAL_ERROR_INVALID_ARGUMENT);
  const char* const ids[2] = {"a.jpg", NULL};
  a = named("random"), a.ids = ids, scores[0] = -1.0;
  CHECK(deal_score(&a, &o, 2, scores) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "ids[1]") != NULL && scores[0] == -1.0);
}

static void test_a_signature_is_the_mean_grey_of_areas(void) {
  static uint8_t image[24][32][3], bgr[24][32][3];
  uint8_t grey[DEAL_THUMBNAIL_BYTES], other[DEAL_THUMBNAIL_BYTES];
  for (int y = 0; y < 24; ++y) {
    for (int x = 0; x < 32; ++x) {
      for (int c = 0; c < 3; ++c) image[y][x][c] = (uint8_t)(8 * (y / 2) + x / 2);
    }
  }
  image[0][0][0] = 255;
  for (int y = 0; y < 24; ++y) {
    for (int x = 0; x < 32; ++x) {
      for (int c = 0; c < 3; ++c) bgr[y][x][2 - c] = image[y][x][c];
    }
  }
  const long before = allocations;
  CHECK(deal_thumbnail(&image[0][0][0], NULL, 24, 32, grey) == DEAL_OK);
  CHECK(grey[0] == (255 * 19595 + 2 * 65536) / (4 * 65536));
  CHECK(grey[17] == 8 + 1 && grey[191] == 8 * 11 + 15);
  const int64_t stride[3] = {96, 3, -1};
  CHECK(deal_thumbnail(&bgr[0][0][2], stride, 24, 32, other) == DEAL_OK);
  CHECK(memcmp(grey, other, sizeof grey) == 0);
  CHECK(deal_thumbnail_difference(grey, other) == 0);
  for (int i = 0; i < DEAL_THUMBNAIL_BYTES; ++i) other[i] = (uint8_t)(grey[i] + 9);
  CHECK(deal_thumbnail_difference(grey, other) == 0); /* exposure alone */
  other[5] = (uint8_t)(other[5] + 1);
  CHECK(deal_thumbnail_difference(grey, other) == 191 + 191);
  CHECK(allocations == before);
  CHECK(deal_thumbnail(&image[0][0][0], NULL, 0, 32, grey) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(deal_thumbnail(NULL, NULL, 24, 32, grey) == DEAL_ERROR_INVALID_ARGUMENT);
}

/* A row stride that is one element too short for the width reads beyond the end. */
static void test_strides_beyond_the_buffer_are_refused(void) {
  deal_tensor logits = make_logits();
  deal_input input;
  DEAL_INIT(input);
  input.logits = &logits, input.raster_height = H, input.raster_width = W;
  deal_sizes sizes;
  DEAL_INIT(sizes);
  logits.size_bytes = sizeof logits_data;
  CHECK(deal_output_sizes(&input, &sizes) == DEAL_OK);
  logits.width = w + 1;
  CHECK(deal_output_sizes(&input, &sizes) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "logits.size_bytes") != NULL);
  logits.size_bytes = 0; /* unknown */
  CHECK(deal_output_sizes(&input, &sizes) == DEAL_OK);
  logits = make_logits();
  logits.size_bytes = sizeof logits_data - 1;
  CHECK(deal_output_sizes(&input, &sizes) == DEAL_ERROR_INVALID_ARGUMENT);
  logits.stride[3] = -w, logits.size_bytes = sizeof logits_data; /* bottom-up */
  CHECK(deal_output_sizes(&input, &sizes) == DEAL_OK);
  const int64_t odd[] = {INT64_MIN, INT64_MAX, INT64_MAX / 2, -INT64_MAX};
  for (int i = 0; i < 4; ++i) {
    logits.stride[3] = odd[i];
    CHECK(deal_output_sizes(&input, &sizes) == DEAL_ERROR_INVALID_ARGUMENT);
  }
  logits.stride[3] = w, logits.stride[0] = INT64_MIN; /* of one member: never taken */
  CHECK(deal_output_sizes(&input, &sizes) == DEAL_OK);
  logits.struct_size = offsetof(deal_tensor, size_bytes), logits.size_bytes = 1; /* older caller */
  CHECK(deal_output_sizes(&input, &sizes) == DEAL_OK);
}

int main(void) {
  fill_logits();
  test_names_are_those_of_the_command_line();
  test_a_score_follows_from_the_statistics_without_memory();
  test_what_cannot_be_scored_is_refused();
  test_a_signature_is_the_mean_grey_of_areas();
  test_strides_beyond_the_buffer_are_refused();
  return report_checks();
}
