/* Logits of int8 and uint8, in any layout, give the bits of the float32 values that they stand for,
 * by every instruction set. */
#include <math.h>

#include "all_outputs.h"
#include "small_batch.h"

enum { M = 3 };

static uint32_t state = 5;
static uint32_t draw(void) {
  state = state * 1664525u + 1013904223u;
  return state >> 8;
}

/* The elements of a tensor by their strides, from the first byte they reach. */
static int64_t offset(const deal_tensor* t, int64_t m, int64_t b, int64_t c, int64_t y, int64_t x) {
  return m * t->stride[0] + b * t->stride[1] + c * t->stride[2] + y * t->stride[3] +
         x * t->stride[4];
}

static deal_tensor of(int dtype, int layout, int64_t members) {
  deal_tensor t;
  DEAL_INIT(t);
  t.dtype = dtype;
  t.members = members, t.batch = B, t.channels = C, t.height = h, t.width = w;
  static const int64_t strides[3][5] = {
      {B * C * h * w, C * h * w, h * w, w, 1},    /* [M, B, C, h, w] */
      {B * C * h * w, C * h * w, 1, w * C, C},    /* [M, B, h, w, C] */
      {B * C * h * w, C * h * w, -h * w, -w, -1}, /* upside down and mirrored */
  };
  memcpy(t.stride, strides[layout], sizeof t.stride);
  t.size_bytes = members * B * C * h * w * (dtype == DEAL_FLOAT32 ? 4 : 1);
  return t;
}

static void compare(int isa, int dtype, int layout, int64_t members, float scale, int zero_point) {
  const int64_t n = members * B * C * h * w;
  int8_t* bytes = malloc((size_t)n);
  float* floats = malloc((size_t)n * sizeof *floats);
  const int64_t first = layout == 2 ? C * h * w - 1 : 0; /* where element 0 lies */
  deal_tensor quantised = of(dtype, layout, members), plain = of(DEAL_FLOAT32, 0, members);
  for (int64_t i = 0; i < n; ++i) bytes[i] = (int8_t)draw();
  quantised.data = bytes + first, plain.data = floats;
  quantised.scale = scale, quantised.zero_point = zero_point;
  for (int64_t m = 0; m < members; ++m) {
    for (int64_t b = 0; b < B; ++b) {
      for (int64_t c = 0; c < C; ++c) {
        for (int64_t y = 0; y < h; ++y) {
          for (int64_t x = 0; x < w; ++x) {
            const int8_t q = bytes[first + offset(&quantised, m, b, c, y, x)];
            const int value = dtype == DEAL_INT8 ? q : (uint8_t)q;
            floats[offset(&plain, m, b, c, y, x)] = (float)(value - zero_point) * scale;
          }
        }
      }
    }
  }
  deal_head head = make_head();
  deal_regions grid = {sizeof grid, DEAL_REGIONS_GRID, CELL};
  deal_input input = {sizeof input, &plain, H, W, DEAL_ALIGN_CORNERS, &head};
  input.regions = &grid;
  table expected = score_all(DEAL_ISA_PORTABLE, &input);
  input.logits = &quantised;
  table found = score_all(isa, &input);
  CHECK(found.size == expected.size && memcmp(found.data, expected.data, found.size) == 0);
  free(expected.data), free(found.data), free(bytes), free(floats);
}

static void test_integers_are_scored_as_the_floats_they_stand_for(void) {
  for (int isa = DEAL_ISA_AUTO; isa <= DEAL_ISA_NEON; ++isa) {
    if (!has_isa(isa)) continue;
    for (int layout = 0; layout < 3; ++layout) {
      for (int64_t members = 1; members <= M; members += 2) {
        if (layout == 2 && members > 1) continue;
        compare(isa, DEAL_INT8, layout, members, 0.07f, -11);
        compare(isa, DEAL_UINT8, layout, members, 0.11f, 131);
        compare(isa, DEAL_INT8, layout, members, 1e30f, 127);
        compare(isa, DEAL_UINT8, layout, members, 1e-45f, 0);
      }
    }
  }
}

/* A difficulty grid may be quantised, too. */
static void test_a_quantised_difficulty(void) {
  static int8_t bytes[B * 6 * 8];
  static float floats[B * 6 * 8];
  for (int i = 0; i < B * 6 * 8; ++i) {
    bytes[i] = (int8_t)draw();
    floats[i] = (float)(bytes[i] - 3) * 0.05f;
  }
  deal_tensor logits = make_logits();
  deal_tensor given = {sizeof given,     floats, DEAL_FLOAT32, DEAL_CPU, 1, B, 1, 6, 8,
                       {0, 48, 48, 8, 1}};
  deal_input input = {sizeof input, &logits, H, W, DEAL_HALF_PIXEL};
  input.difficulty = &given;
  table expected = score_all(DEAL_ISA_AUTO, &input);
  given.dtype = DEAL_INT8, given.data = bytes, given.scale = 0.05f, given.zero_point = 3;
  table found = score_all(DEAL_ISA_AUTO, &input);
  CHECK(memcmp(found.data, expected.data, found.size) == 0);
  free(expected.data), free(found.data);
}

static deal_status sizes_of(const deal_tensor* logits) {
  deal_input input = {sizeof input, logits, H, W, DEAL_HALF_PIXEL};
  deal_sizes sizes = {sizeof sizes};
  return deal_output_sizes(&input, &sizes);
}

static void test_wrong_quantisations_are_refused(void) {
  static uint8_t bytes[B * C * h * w];
  const float scales[] = {0.0f, -1.0f, NAN, INFINITY, 1.1e30f};
  deal_tensor t = of(DEAL_UINT8, 1, 1);
  t.data = bytes, t.scale = 0.5f;
  CHECK(sizes_of(&t) == DEAL_OK);
  for (size_t i = 0; i < sizeof scales / sizeof *scales; ++i) {
    t.scale = scales[i];
    CHECK(sizes_of(&t) == DEAL_ERROR_INVALID_ARGUMENT && strstr(deal_last_error(), "scale"));
  }
  t.scale = 0.5f;
  const int wrong[2][2] = {{-1, 256}, {-129, 128}};
  for (int k = 0; k < 2; ++k) {
    t.dtype = k == 0 ? DEAL_UINT8 : DEAL_INT8;
    for (int i = 0; i < 2; ++i) {
      t.zero_point = wrong[k][i];
      CHECK(sizes_of(&t) == DEAL_ERROR_INVALID_ARGUMENT && strstr(deal_last_error(), "zero_point"));
    }
    t.zero_point = 0;
  }
  t.size_bytes = B * C * h * w - 1;
  CHECK(sizes_of(&t) == DEAL_ERROR_INVALID_ARGUMENT && strstr(deal_last_error(), "size_bytes"));
  t.size_bytes = B * C * h * w;
  CHECK(sizes_of(&t) == DEAL_OK);
  t.struct_size = offsetof(deal_tensor, scale); /* of a header that knows no integers */
  CHECK(sizes_of(&t) == DEAL_ERROR_INVALID_ARGUMENT);
  t.struct_size = sizeof t;
  t.dtype = DEAL_FLOAT64;
  CHECK(sizes_of(&t) == DEAL_ERROR_INVALID_ARGUMENT);
}

int main(void) {
  fill_logits();
  test_integers_are_scored_as_the_floats_they_stand_for();
  test_a_quantised_difficulty();
  test_wrong_quantisations_are_refused();
  return report_checks();
}
