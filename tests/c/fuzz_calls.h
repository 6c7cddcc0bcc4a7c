/* Cases of the calls without a request: resizing, signatures, k-center, counters. */
#ifndef DEAL_TESTS_FUZZ_CALLS_H
#define DEAL_TESTS_FUZZ_CALLS_H

#include "deal_model.h"
#include "deal_select.h"
#include "fuzz.h"

/* An image of any strides; one allocation of just what they reach. */
static const uint8_t* random_image(int64_t height, int64_t width, int64_t* stride) {
  const int64_t pixel = 3 + (one_in(3) ? below(3) : 0);
  stride[2] = one_in(3) ? -1 : 1;
  stride[1] = (one_in(4) ? -1 : 1) * pixel;
  stride[0] = (one_in(4) ? -1 : 1) * (pixel * width + (one_in(3) ? below(9) : 0));
  const int64_t sides[3] = {height, width, 3};
  int64_t lowest = 0, highest = 0;
  for (int i = 0; i < 3; ++i) {
    const int64_t reach = stride[i] * (sides[i] - 1);
    *(reach < 0 ? &lowest : &highest) += reach;
  }
  uint8_t* data = block((size_t)(highest - lowest + 1));
  for (int64_t i = 0; i <= highest - lowest; ++i) data[i] = (uint8_t)draw();
  return data - lowest;
}

static void resize_case(void) {
  int64_t stride[3];
  const int64_t height = 1 + below(20), width = 1 + below(20);
  const uint8_t* image = random_image(height, width, stride);
  if (one_in(4)) {
    uint8_t* signature = block(DEAL_THUMBNAIL_BYTES);
    count(deal_thumbnail(image, stride, height, width, signature));
    check(deal_thumbnail_difference(signature, signature) == 0, "a signature is its own");
    return;
  }
  int64_t sides[4] = {height, width, 1 + below(24), 1 + below(24)};
  uint8_t* out = block((size_t)(sides[2] * sides[3] * 3));
  int32_t filter = (int32_t)below(3);
  const int wrong = one_in(10);
  if (wrong && one_in(2)) {
    const int64_t odd = odd_number();
    sides[below(4)] = odd < 1 || odd > 65535 ? odd : 0;
  } else if (wrong) {
    filter = (int32_t)odd_number() | 8;
  }
  const deal_status status =
      deal_resize(image, stride, sides[0], sides[1], filter, out, sides[2], sides[3]);
  count(status);
  check((status == DEAL_OK) == !wrong, "right requests are resized, wrong ones are not");
}

static void k_center_case(void) {
  const int64_t rows = 1 + below(40), width = 1 + below(20);
  const int odd = one_in(20);
  float* features = block((size_t)(rows * width) * sizeof *features);
  for (int64_t i = 0; i < rows * width; ++i) {
    features[i] = odd && one_in(30) ? odd_float() : one_in(9) ? 0.0f : some_float();
  }
  deal_k_center_options o;
  DEAL_INIT(o);
  o.features = features, o.rows = rows, o.width = width;
  o.metric = (int32_t)below(2), o.threads = 1;
  o.isa = one_in(3) ? DEAL_ISA_PORTABLE : DEAL_ISA_AUTO;
  if (one_in(2)) {
    uint8_t* candidates = block((size_t)rows);
    for (int64_t r = 0; r < rows; ++r) candidates[r] = one_in(4) ? 0 : (uint8_t)draw();
    o.candidates = candidates;
  }
  o.center_count = one_in(2) ? below(rows + 1) : 0;
  int64_t* centers = block((size_t)o.center_count * sizeof *centers);
  for (int64_t i = 0; i < o.center_count; ++i) {
    centers[i] = one_in(100) ? odd_number() : below(rows);
  }
  o.centers = centers;
  if (one_in(4)) o.has_first = 1, o.first = one_in(9) ? odd_number() : below(rows);
  if (one_in(30)) o.metric = (int32_t)odd_number();
  if (one_in(30)) o.width = -below(3);
  if (one_in(30)) o.rows = -below(3);
  if (one_in(30)) o.threads = one_in(2) ? -1 : 1025;
  if (one_in(30)) o.isa = (int32_t)odd_number() | 8;
  const int cut = one_in(30); /* then candidates and what follows are not read */
  if (cut) o.struct_size = (size_t)below((int64_t)offsetof(deal_k_center_options, threads));
  const int64_t wanted = one_in(20) ? odd_number() : 1 + below(rows);
  const int64_t room = wanted > 0 && wanted <= rows ? wanted : 0;
  int64_t* picks = block((size_t)room * sizeof *picks);
  double* distances = one_in(4) ? NULL : block((size_t)room * sizeof *distances);
  const deal_status status = deal_k_center(&o, wanted, picks, distances);
  count(status);
  if (status != DEAL_OK || cut) return;
  for (int64_t k = 0; k < wanted; ++k) {
    check(picks[k] >= 0 && picks[k] < rows, "a pick is a row");
    check(o.candidates == NULL || o.candidates[picks[k]] != 0, "a pick is a candidate");
    for (int64_t other = 0; other < k; ++other) check(picks[other] != picks[k], "picks differ");
    const int first_is_free = k == 0 || (k == 1 && o.has_first);
    check(distances == NULL || first_is_free || distances[k] <= distances[k - 1] + 1e-6,
          "distances fall");
  }
}

static void counters_case(const deal_context* context) {
  deal_context_counters counters;
  DEAL_INIT(counters);
  if (one_in(9)) counters.struct_size = (size_t)below((int64_t)sizeof counters + 40);
  const deal_status status = deal_context_count(context, one_in(50) ? NULL : &counters);
  count(status);
  check(status != DEAL_OK || counters.struct_size < sizeof counters ||
            counters.frames >= counters.nonfinite_frames,
        "no more broken frames than frames");
}

#endif
