// What one thread of the CUDA backend computes, for host and device alike.
//
// The kernels in *_cuda.cu add loops, shared memory and atomics to it, no arithmetic: given the
// same logits, a pixel has the same bits here as on the CPU, and integer sums do not depend on
// order.
#pragma once

#include <stdint.h>

#include "pixel/attention_plan.h"
#include "abi/deal.h"
#include "pixel/records.h"
#include "abi/request.h"
#include "pixel/pixel_math.h"
#include "pixel/taps.h"

namespace deal {
namespace {

// ---- tensors ----------------------------------------------------------------------------------

// As it stands in the tensor; both conversions keep NaN and infinity.
DEAL_INLINE float load_raw(const char* data, int32_t dtype, int64_t at) {
  if (dtype == DEAL_FLOAT32) return reinterpret_cast<const float*>(data)[at];
  const uint16_t bits = reinterpret_cast<const uint16_t*>(data)[at];
  return dtype == DEAL_FLOAT16 ? half_to_float(bits) : bfloat_to_float(bits);
}

DEAL_INLINE bool is_nonfinite(float value) { return (as_int(value) & 0x7f800000) == 0x7f800000; }

DEAL_INLINE float load(const char* data, int32_t dtype, int64_t at) {
  const float value = load_raw(data, dtype, at);
  return dtype == DEAL_FLOAT16 ? value : bounded(value);
}

// The four neighbours of a sample, as offsets into one channel.
struct Corners {
  int64_t top_left, top_right, bottom_left, bottom_right;
  float down, right;

  DEAL_INLINE Corners(Tap y, Tap x, int64_t row_stride, int64_t column_stride)
      : top_left(y.first * row_stride + x.first * column_stride),
        top_right(y.first * row_stride + x.second * column_stride),
        bottom_left(y.second * row_stride + x.first * column_stride),
        bottom_right(y.second * row_stride + x.second * column_stride),
        down(y.weight),
        right(x.weight) {}
};

// Sideways first, then downwards, as on the CPU.
DEAL_INLINE float sample(const char* data, int32_t dtype, int64_t at, const Corners& corners) {
  const float upper = lerp(load(data, dtype, at + corners.top_left),
                           load(data, dtype, at + corners.top_right), corners.right);
  const float lower = lerp(load(data, dtype, at + corners.bottom_left),
                           load(data, dtype, at + corners.bottom_right), corners.right);
  return lerp(upper, lower, corners.down);
}

// The logits of one pixel or cell by class. kDtype is a constant, so that load() has no branch.
template <int32_t kDtype>
struct PixelLogits {
  const char* data;
  int64_t at, channel_stride;
  Corners corners;

  DEAL_INLINE PixelLogits(const TensorView& logits, int64_t b, Tap y, Tap x)
      : data(logits.data),
        at(b * logits.batch_stride),
        channel_stride(logits.channel_stride),
        corners(y, x, logits.row_stride, logits.column_stride) {}
  DEAL_INLINE float operator()(int32_t c) const {
    return sample(data, kDtype, at + c * channel_stride, corners);
  }
};

// The same for a column of the raster, from row to row: what lies in two rows of logits at its x is
// kept while these stay, so that a sample is one operation. The same values as PixelLogits gives.
template <int32_t kDtype, int32_t kHeld>
struct ColumnLogits {
  static constexpr int64_t kBytes = kDtype == DEAL_FLOAT32 ? 4 : 2;
  const char *left, *right;            // of the image, in row 0 of class 0
  int64_t row_stride, channel_stride;  // in bytes
  int32_t classes;
  float rightwards, down;
  float upper[kHeld], step[kHeld];

  DEAL_INLINE ColumnLogits(const TensorView& logits, int64_t b, Tap x)
      : left(logits.data + (b * logits.batch_stride + x.first * logits.column_stride) * kBytes),
        right(logits.data + (b * logits.batch_stride + x.second * logits.column_stride) * kBytes),
        row_stride(logits.row_stride * kBytes),
        channel_stride(logits.channel_stride * kBytes),
        classes(static_cast<int32_t>(logits.channels)),
        rightwards(x.weight) {}

  DEAL_INLINE void hold(int32_t first, int32_t second) {
    const char* at[4] = {left + first * row_stride, right + first * row_stride,
                         left + second * row_stride, right + second * row_stride};
#pragma unroll
    for (int32_t c = 0; c < kHeld; ++c) {
      upper[c] = lerp(load(at[0], kDtype, 0), load(at[1], kDtype, 0), rightwards);
      step[c] = lerp(load(at[2], kDtype, 0), load(at[3], kDtype, 0), rightwards) - upper[c];
      const int64_t next = c + 1 < classes ? channel_stride : 0;  // the last again: no branch
      for (const char*& corner : at) corner += next;
    }
  }
  DEAL_INLINE float operator()(int32_t c) const { return fma_(down, step[c], upper[c]); }
};

// ---- a pixel ----------------------------------------------------------------------------------

// Uncertainties and label of a pixel. Loops over kLeast...kMost classes are unrolled, so that what
// the logits hold of them stays in registers; with kMost 0 there may be any number. Classes are
// sampled twice: to hold the samples takes registers, of which there are too few for many warps.
template <int32_t kLeast, int32_t kMost, class Logits>
DEAL_INLINE Uncertainty<float> score_pixel(const Logits& logits, int32_t classes, int32_t* label) {
  TopTwo<float, int32_t> top(logits(0));
  const auto each = [&](int32_t first, const auto& take) {
    if constexpr (kMost == 0) {
      for (int32_t c = first; c < classes; ++c) take(c);
    } else {
#pragma unroll
      for (int32_t c = first; c < kMost; ++c) {
        if (c >= kLeast && c >= classes) break;
        take(c);
      }
    }
  };
  each(1, [&](int32_t c) { top.add(logits(c), c); });
  float sum = 0.0f, weighted = 0.0f;
  each(0, [&](int32_t c) {
    const float d = max_(logits(c) - top.first, kLowestExponent);
    const float e = exp_in_range(d);
    sum = sum + e;
    weighted = fma_(e, d, weighted);
  });
  *label = top.label;
  return uncertainty_of(sum, weighted, top.second - top.first);
}

// Fixed point, none negative; entropy is at most ln C, so below 2^32 for 32 pixels of any number of
// classes, and for 64 of at most 32.
// Without a difficulty d is 0. Scaled before they are multiplied: by a power of two, so that
// products are those of to_fixed(d * u), and with fewer operations.
DEAL_INLINE void make_record(const Uncertainty<float>& u, float d, int32_t (&record)[kRecord]) {
  const float entropy = u.entropy * kFixedOne, margin = u.margin * kFixedOne;
  const float least_confidence = u.least_confidence * kFixedOne;
  record[kCount] = 1;
  record[kEntropy] = round_to_int(entropy);
  record[kMargin] = round_to_int(margin);
  record[kLeastConfidence] = round_to_int(least_confidence);
  record[kDifficulty] = to_fixed(d);
  record[kDifficultyEntropy] = round_to_int(d * entropy);
  record[kDifficultyMargin] = round_to_int(d * margin);
  record[kDifficultyLeastConfidence] = round_to_int(d * least_confidence);
}

// Added to the values of a committee, so that none is negative: mutual information may be rounded
// below zero by far less. Sums of 32 pixels stay below 2^32 with it.
constexpr int32_t kCommitteeFloor = 1 << 20;

// What the members disagree about at a pixel, in the order of committee_impl.h. Classes are sampled
// three times: their number has no small bound, that of the members has.
template <class Logits>
DEAL_INLINE void committee_values(Logits logits, const TensorView& tensor, const float* vote_terms,
                                  int32_t (&values)[kCommittee]) {
  float largest[DEAL_MAX_MEMBERS], inverse[DEAL_MAX_MEMBERS];
  uint8_t label[DEAL_MAX_MEMBERS];
  const int32_t members = static_cast<int32_t>(tensor.members);
  const int32_t classes = static_cast<int32_t>(tensor.channels);
  const int64_t first = logits.at;
  const auto power = [](float z, float most) { return max_(z - most, kLowestProbabilityExponent); };
  float entropies = 0.0f;
  for (int32_t m = 0; m < members; ++m) {
    logits.at = first + m * tensor.member_stride;
    TopTwo<float, int32_t> top(logits(0));
    for (int32_t c = 1; c < classes; ++c) top.add(logits(c), c);
    largest[m] = top.first;
    label[m] = static_cast<uint8_t>(top.label);
    float sum = 0.0f, weighted = 0.0f;
    for (int32_t c = 0; c < classes; ++c) {
      const float d = power(logits(c), top.first);
      const float e = exp_in_range(d);
      sum = sum + e;
      weighted = fma_(e, d, weighted);
    }
    inverse[m] = 1.0f / sum;
    entropies = entropies + (log_positive(sum) - weighted * inverse[m]);
  }
  const float share = 1.0f / static_cast<float>(members);
  float negative = 0.0f, vote_entropy = 0.0f;
  for (int32_t c = 0; c < classes; ++c) {
    float mean = 0.0f;
    int32_t votes = 0;
    for (int32_t m = 0; m < members; ++m) {
      logits.at = first + m * tensor.member_stride;
      mean = fma_(exp_in_range(power(logits(c), largest[m])), inverse[m], mean);
      votes += label[m] == c;
    }
    const float p = mean * share;
    negative = fma_(p, log_positive(p), negative);
    vote_entropy = vote_entropy + vote_terms[votes];
  }
  const float consensus = 0.0f - negative;
  values[kVoteEntropy] = to_fixed(vote_entropy);
  values[kMutualInformation] = to_fixed(consensus - entropies * share);
  values[kConsensusEntropy] = to_fixed(consensus);
}

// How many of four pixels differ from a neighbour; a byte a pixel, and so are its neighbours'.
DEAL_INLINE uint32_t boundary_bytes(uint32_t here, uint32_t above, uint32_t below, uint32_t left,
                                    uint32_t right) {
  const uint32_t differ = (here ^ above) | (here ^ below) | (here ^ left) | (here ^ right);
  // The top bit of each byte that is not 0: of its lower bits by a carry, or it was set.
  const uint32_t flags = (((differ & 0x7f7f7f7fu) + 0x7f7f7f7fu) | differ) & 0x80808080u;
#if defined(__CUDA_ARCH__)
  return __popc(flags);
#else
  return static_cast<uint32_t>(__builtin_popcount(flags));
#endif
}

// ---- regions ----------------------------------------------------------------------------------

// Region of a pixel, -1 for none. Ids beyond the count are none: deal_finish reports them.
DEAL_INLINE int64_t region_of(const Request& r, int64_t b, int64_t x, int64_t y) {
  if (r.region_kind == DEAL_REGIONS_GRID) {
    return y / r.region_cell * r.region_columns + x / r.region_cell;
  }
  if (r.region_kind != DEAL_REGIONS_SEGMENTS) return -1;
  const int32_t id = r.segments[((r.segments_shared ? 0 : b) * r.height + y) * r.width + x];
  return id >= 0 && id < r.region_count ? id : -1;
}

// A region (or -1) and a label, as one number to compare.
DEAL_INLINE int64_t join_key(int64_t region, int32_t label) {
  return region * DEAL_MAX_CLASSES + label;
}
DEAL_INLINE int64_t key_region(int64_t key) { return key >> 8; }
DEAL_INLINE int32_t key_label(int64_t key) { return static_cast<int32_t>(key & 255); }

// Regions first ... first + count - 1 are those summed in shared memory.
struct RegionWindow {
  int64_t first, count;
};

// The regions that rows top...bottom can lie in, at most `capacity` of them.
DEAL_INLINE RegionWindow region_window(const Request& r, int64_t top, int64_t bottom,
                                       int64_t capacity) {
  int64_t first = 0, count = r.region_count;
  if (r.region_kind == DEAL_REGIONS_GRID) {
    first = top / r.region_cell * r.region_columns;
    count = (bottom / r.region_cell + 1) * r.region_columns - first;
  }
  return {first, count < capacity ? count : capacity};
}

// ---- totals that begin at zero and only grow ---------------------------------------------------

// Not negative floats as integers in their order, 0 for none; falling_ in the opposite order.
DEAL_INLINE uint32_t rising_bits(float value) { return static_cast<uint32_t>(as_int(value)) + 1u; }
DEAL_INLINE uint32_t falling_bits(float value) {
  return 0x80000000u - static_cast<uint32_t>(as_int(value));
}
DEAL_INLINE uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }
DEAL_INLINE float from_rising(uint32_t bits) { return as_float(static_cast<int32_t>(bits - 1u)); }
DEAL_INLINE float from_falling(uint32_t bits) {
  return as_float(static_cast<int32_t>(0x80000000u - bits));
}

// How far a region reaches to the left, top, right and bottom, each at least 1; 0 for none.
struct Reach {
  uint32_t side[4];
};
DEAL_INLINE Reach reach_of(int64_t x, int64_t y, int64_t width, int64_t height) {
  return {{static_cast<uint32_t>(width - x), static_cast<uint32_t>(height - y),
           static_cast<uint32_t>(x + 1), static_cast<uint32_t>(y + 1)}};
}

// ---- attention --------------------------------------------------------------------------------

// A monomial p_a p_b p_c p_d, a <= b <= c <= d; missing factors are one past the last, which is 1.
struct Term {
  int32_t factor[4];
  int32_t degree, orders;  // orders in which the factors can stand
};

// The monomials in preorder: constant; for a: (a; for b: (ab; for c: (abc; for d: abcd))).
DEAL_INLINE Term term_at(int64_t index, int32_t classes) {
  Term term = {{classes, classes, classes, classes}, 0, 1};
  int32_t lowest = 0, equal = 0;
  while (index > 0) {
    --index;
    const int32_t left = 3 - term.degree;  // factors that may still follow the next one
    for (;; ++lowest) {
      const int64_t below = monomials_in(classes - lowest, left);
      if (index < below) break;
      index -= below;
      equal = 0;
    }
    term.factor[term.degree++] = lowest;
    term.orders = term.orders * term.degree / ++equal;
  }
  return term;
}

// The sum of a cell's weights, and of its weighted u.
struct alignas(8) Average {
  float weight, value;
  DEAL_INLINE void add(float x, Average inner) {
    weight = fma_(x, inner.weight, weight);
    value = fma_(x, inner.value, value);
  }
};

// Sum over the monomials of a cell that begin with class a, without that factor.
template <class Probability>
DEAL_INLINE Average sum_from(int32_t a, const Probability& p, int32_t classes, const Average* g) {
  Average in_a = *g++;
  for (int32_t b = a; b < classes; ++b) {
    Average in_b = *g++;
    for (int32_t c = b; c < classes; ++c) {
      Average in_c = *g++;
      for (int32_t d = c; d < classes; ++d) in_c.add(p(d), *g++);
      in_b.add(p(c), in_c);
    }
    in_a.add(p(b), in_b);
  }
  return in_a;
}

}  // namespace
}  // namespace deal
