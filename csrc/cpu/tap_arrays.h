// The positions of a resize, computed once, in memory of a workspace.
#pragma once

#include <stdint.h>

#include "cpu/memory.h"
#include "pixel/records.h"
#include "pixel/taps.h"

namespace deal {

struct TapArrays {
  int32_t *first, *second;
  float* weight;

  void carve(Carver& carver, int64_t n_out) {
    first = carver.take<int32_t>(n_out);
    second = carver.take<int32_t>(n_out);
    weight = carver.take<float>(n_out);
  }

  void fill(int64_t n_in, int64_t n_out, bool align_corners) {
    for (int64_t i = 0; i < n_out; ++i) {
      const Tap tap = tap_of(i, n_in, n_out, align_corners);
      first[i] = tap.first;
      second[i] = tap.second;
      weight[i] = tap.weight;
    }
    for (int64_t i = n_out; i < n_out + kPad; ++i) {
      first[i] = first[n_out - 1];
      second[i] = second[n_out - 1];
      weight[i] = weight[n_out - 1];
    }
  }
  Taps taps() const { return {first, second, weight}; }
  Tap at(int64_t i) const { return tap_at(taps(), static_cast<uint32_t>(i)); }
};

}  // namespace deal
