// One pixel at a time: the portable lanes.
#pragma once

#include "region_math.h"

namespace deal {
namespace {

struct ScalarLanes {
  using F = float;
  using I = int32_t;
  static constexpr int width = 1;

  static F load(const float* p) { return *p; }
  static void store(float* p, F v) { *p = v; }
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

  static void store_bytes(uint8_t* p, I v) { *p = static_cast<uint8_t>(v); }

  // Eight integers a pixel, side by side.
  static void store_records(int32_t* p, const I (&v)[8]) {
    for (int k = 0; k < 8; ++k) p[k] = v[k];
  }
  struct Record {
    int64_t v[8];
  };
  static Record load_record(const int32_t* p) {
    Record r;
    for (int k = 0; k < 8; ++k) r.v[k] = p[k];
    return r;
  }
  static void add_record(Record& sum, const int32_t* p) {
    for (int k = 0; k < 8; ++k) sum.v[k] += p[k];
  }
  static void add_to(int64_t* total, const Record& sum) {
    for (int k = 0; k < 8; ++k) total[k] += sum.v[k];
  }
};

}  // namespace
}  // namespace deal
