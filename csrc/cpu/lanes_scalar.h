// One pixel at a time: the portable lanes.
#pragma once

#include "pixel/pixel_math.h"

namespace deal {
namespace {

struct ScalarLanes {
  using F = float;
  using I = int32_t;
  static constexpr int width = 1;
  static constexpr int kRows = 1;  // scored together, as registers allow

  static F load(const float* p) { return *p; }
  static void store(float* p, F v) { *p = v; }
  static F hold(F a) { return a; }
  static I load_int(const int32_t* p) { return *p; }
  static void store_int(int32_t* p, I v) { *p = v; }

  // Sixteen numbers halved four times: one order of additions for every width.
  static float sum16(const F (&part)[16]) {
    float lane[16];
    memcpy(lane, part, sizeof lane);
    for (int half = 8; half > 0; half /= 2) {
      for (int k = 0; k < half; ++k) lane[k] = lane[k] + lane[k + half];
    }
    return lane[0];
  }

  // Samples row[first[i]] for the lanes of a block; window() says whether pick() may be used.
  static bool window(const int32_t*, const int32_t*) { return true; }
  static I offsets(const int32_t* index, int32_t base) { return *index - base; }
  static F pick(const float* row, I offset) { return row[offset]; }
  static F gather(const float* row, I index) { return row[index]; }

  static I load_bytes(const uint8_t* p) { return *p; }
  static void store_bytes(uint8_t* p, I v) { *p = static_cast<uint8_t>(v); }

  // Pixels as bits: which are equal, all of them, how many; keep() clears the others.
  static constexpr uint32_t kAll = 1;
  static uint32_t equal(I a, I b) { return a == b; }
  static I keep(I v, uint32_t bits) { return bits != 0 ? v : 0; }
  static int64_t count(uint32_t bits) { return bits; }

  // Sums of the eight integers of a pixel.
  using Wide = int64_t[8];
  static void clear(Wide& sum) { memset(sum, 0, sizeof sum); }
  static void add_fields(Wide& sum, const I (&v)[8]) {
    for (int k = 0; k < 8; ++k) sum[k] += v[k];
  }
  static void add_to(int64_t* total, const Wide& sum) {
    for (int k = 0; k < 8; ++k) total[k] += sum[k];
  }

  // The integers of each pixel, one pixel after the other, and the addition of one.
  static void store_records(int32_t* out, const I (&v)[8]) {
    for (int k = 0; k < 8; ++k) out[k] = v[k];
  }
  static void add_record(int64_t* total, const int32_t* record) {
    for (int k = 0; k < 8; ++k) total[k] += record[k];
  }
};

}  // namespace
}  // namespace deal
