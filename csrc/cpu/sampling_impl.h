// How rows of a source are loaded as floats and sampled, written once over a lane type L.
#pragma once

#include "abi/deal.h"
#include "cpu/kernels.h"
#include "pixel/pixel_math.h"

namespace deal {
namespace {

// ---- loading ----------------------------------------------------------------------------------

// Compilers vectorise a loop only where they see that its numbers are neighbours.
template <class T, class Take>
DEAL_INLINE void each_of(const void* source, int64_t step, int64_t n, const Take& take) {
  const T* from = static_cast<const T*>(source);
  if (step == 1) {
    for (int64_t i = 0; i < n; ++i) take(i, from[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) take(i, from[i * step]);
  }
}

// Integers as the numbers they stand for; the difference is exact, so each is rounded once.
template <class T>
DEAL_INLINE void dequantise(const void* source, const Encoding& encoding, int64_t step,
                            float* __restrict out, int64_t n) {
  const int32_t zero = encoding.zero_point;
  const float scale = encoding.scale;
  each_of<T>(source, step, n,
             [&](int64_t i, T v) { out[i] = static_cast<float>(v - zero) * scale; });
}

inline void load_row(const void* source, const Encoding& encoding, int64_t step,
                     float* __restrict out, int64_t n) {
  switch (encoding.dtype) {
    case DEAL_FLOAT32:
      each_of<float>(source, step, n, [&](int64_t i, float v) { out[i] = bounded(v); });
      return;
    case DEAL_FLOAT16:
      each_of<uint16_t>(source, step, n, [&](int64_t i, uint16_t v) { out[i] = half_to_float(v); });
      return;
    case DEAL_BFLOAT16:
      each_of<uint16_t>(source, step, n,
                        [&](int64_t i, uint16_t v) { out[i] = bounded(bfloat_to_float(v)); });
      return;
    case DEAL_INT8:
      dequantise<int8_t>(source, encoding, step, out, n);
      return;
    default:
      dequantise<uint8_t>(source, encoding, step, out, n);
  }
}

inline int64_t count_nonfinite(const void* source, int32_t dtype, int64_t step, int64_t n) {
  int64_t count = 0;
  if (dtype == DEAL_INT8 || dtype == DEAL_UINT8) return 0;
  if (dtype == DEAL_FLOAT32) {
    each_of<float>(source, step, n,
                   [&](int64_t, float v) { count += (as_int(v) & 0x7f800000) == 0x7f800000; });
  } else {
    const uint16_t exponent = dtype == DEAL_FLOAT16 ? 0x7c00 : 0x7f80;
    each_of<uint16_t>(source, step, n,
                      [&](int64_t, uint16_t v) { count += (v & exponent) == exponent; });
  }
  return count;
}

// ---- resizing ---------------------------------------------------------------------------------

// Samples one block of pixels, in any rows that share its taps.
template <class L>
struct Block {
  using F = typename L::F;
  typename L::I first, second;
  F weight;
  int64_t base;
  bool windowed;

  DEAL_INLINE Block(Taps taps, int64_t x)
      : weight(L::load(taps.weight + x)),
        base(taps.first[x]),
        windowed(L::window(taps.first + x, taps.second + x)) {
    const int32_t origin = windowed ? static_cast<int32_t>(base) : 0;
    first = L::offsets(taps.first + x, origin);
    second = L::offsets(taps.second + x, origin);
  }
  template <bool kWindowed>
  DEAL_INLINE F sample(const float* row) const {
    if (kWindowed) return lerp(L::pick(row + base, first), L::pick(row + base, second), weight);
    return lerp(L::gather(row, first), L::gather(row, second), weight);
  }
  // The upper row's samples of a channel, and the way to the lower row's.
  template <bool kWindowed>
  DEAL_INLINE void between(const Between& row, int64_t channel, F& upper, F& step) const {
    upper = sample<kWindowed>(row.upper + channel * row.stride);
    step = F(0.0f);
    if (row.lower != row.upper) step = sample<kWindowed>(row.lower + channel * row.stride) - upper;
  }
  // The samples of a channel at the row itself.
  template <bool kWindowed>
  DEAL_INLINE F at(const Between& row, int64_t channel) const {
    F upper, step;
    between<kWindowed>(row, channel, upper, step);
    return fma_(F(row.weight), step, upper);
  }
  DEAL_INLINE F at(const Between& row, int64_t channel) const {
    return windowed ? at<true>(row, channel) : at<false>(row, channel);
  }
};

}  // namespace
}  // namespace deal
