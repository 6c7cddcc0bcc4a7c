// The loops over rows, written once over a lane type L. Included by one file an instruction set.
#pragma once

#include "deal.h"
#include "kernels.h"
#include "region_math.h"

namespace deal {
namespace {

// ---- loading ----------------------------------------------------------------------------------

inline void load_row(const void* source, int32_t dtype, int64_t step, float* out, int64_t n) {
  if (dtype == DEAL_FLOAT32) {
    const float* from = static_cast<const float*>(source);
    for (int64_t i = 0; i < n; ++i) out[i] = bounded(from[i * step]);
  } else if (dtype == DEAL_FLOAT16) {
    const uint16_t* from = static_cast<const uint16_t*>(source);
    for (int64_t i = 0; i < n; ++i) out[i] = half_to_float(from[i * step]);
  } else {
    const uint16_t* from = static_cast<const uint16_t*>(source);
    for (int64_t i = 0; i < n; ++i) out[i] = bounded(bfloat_to_float(from[i * step]));
  }
}

inline int64_t count_nonfinite(const void* source, int32_t dtype, int64_t step, int64_t n) {
  int64_t count = 0;
  if (dtype == DEAL_FLOAT32) {
    const float* from = static_cast<const float*>(source);
    for (int64_t i = 0; i < n; ++i) {
      count += (as_int(from[i * step]) & 0x7f800000) == 0x7f800000;
    }
  } else {
    const uint16_t exponent = dtype == DEAL_FLOAT16 ? 0x7c00 : 0x7f80;
    const uint16_t* from = static_cast<const uint16_t*>(source);
    for (int64_t i = 0; i < n; ++i) count += (from[i * step] & exponent) == exponent;
  }
  return count;
}

// ---- resizing ---------------------------------------------------------------------------------

template <class L>
void lerp_rows(const float* a, const float* b, float weight, float* out, int64_t n) {
  using F = typename L::F;
  for (int64_t x = 0; x < n; x += L::width) {
    L::store(out + x, lerp(L::load(a + x), L::load(b + x), F(weight)));
  }
}

// The samples of one block of pixels, from any row that shares its taps.
template <class L>
struct Block {
  typename L::I first, second;
  typename L::F weight;
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
  DEAL_INLINE typename L::F pick(const float* row) const {
    return lerp(L::pick(row + base, first), L::pick(row + base, second), weight);
  }
  DEAL_INLINE typename L::F gather(const float* row) const {
    return lerp(L::gather(row, first), L::gather(row, second), weight);
  }
  DEAL_INLINE typename L::F sample(const float* row) const {
    return windowed ? pick(row) : gather(row);
  }
};

template <class L>
void resize_row(const float* row, Taps taps, float* out, int64_t n) {
  for (int64_t x = 0; x < n; x += L::width) {
    L::store(out + x, Block<L>(taps, x).sample(row));
  }
}

template <class L>
void difficulty_row(const float* row, Taps taps, const uint8_t* mask, float* out, int64_t n,
                    float* low, float* high) {
  using F = typename L::F;
  F smallest(INFINITY), largest(-INFINITY);
  for (int64_t x = 0; x < n; x += L::width) {
    const F d = sigmoid(Block<L>(taps, x).sample(row));
    L::store(out + x, d);
    smallest = min_(smallest, d);  // padding repeats the last pixel: it changes neither
    largest = max_(largest, d);
  }
  *low = INFINITY;
  *high = -INFINITY;
  if (mask == nullptr) {
    float lows[L::width], highs[L::width];
    L::store(lows, smallest);
    L::store(highs, largest);
    for (int k = 0; k < L::width; ++k) {
      *low = min_(*low, lows[k]);
      *high = max_(*high, highs[k]);
    }
  } else {
    for (int64_t x = 0; x < n; ++x) {
      if (mask[x] == 0) continue;
      *low = min_(*low, out[x]);
      *high = max_(*high, out[x]);
    }
  }
}

// ---- pixels -----------------------------------------------------------------------------------

// Samples [C, stride] into z[C].
template <class L, bool kWindowed>
DEAL_INLINE TopTwo<typename L::F, typename L::I> sample_classes(const float* logits, int64_t stride,
                                                                int32_t classes,
                                                                const Block<L>& block,
                                                                typename L::F* z) {
  using I = typename L::I;
  TopTwo<typename L::F, I> top;
  I c_here(0);
  for (int32_t c = 0; c < classes; ++c, logits += stride) {
    z[c] = kWindowed ? block.pick(logits) : block.gather(logits);
    top.add(z[c], c_here);
    c_here = add_wrapping(c_here, I(1));
  }
  return top;
}

template <class L, bool kWindowed>
DEAL_INLINE Uncertainty<typename L::F> pixel_block(const PixelRow& row, const Block<L>& block,
                                                   typename L::I* label) {
  using F = typename L::F;
  F z[DEAL_MAX_CLASSES];
  const auto top = sample_classes<L, kWindowed>(row.logits, row.stride, row.classes, block, z);
  F sum(0.0f), weighted(0.0f);
  for (int32_t c = 0; c < row.classes; ++c) {
    const F d = max_(z[c] - top.first, F(kLowestExponent));
    const F e = exp_in_range(d);
    sum = sum + e;
    weighted = fma_(e, d, weighted);
  }
  *label = top.label;
  return uncertainty_of(sum, weighted, top.second - top.first);
}

template <class L>
void pixel_row(const PixelRow& row) {
  using F = typename L::F;
  using I = typename L::I;
  for (int64_t x = 0; x < row.width; x += L::width) {
    const Block<L> block(row.taps, x);
    I label;
    const Uncertainty<F> u = block.windowed ? pixel_block<L, true>(row, block, &label)
                                            : pixel_block<L, false>(row, block, &label);
    L::store_bytes(row.labels + x, label);
    L::store_bytes(row.entropy_levels + x, level_of(u.entropy * F(row.inverse_log_classes)));
    I fields[kRecord];
    fields[kCount] = I(1);
    fields[kEntropy] = to_fixed(u.entropy);
    fields[kMargin] = to_fixed(u.margin);
    fields[kLeastConfidence] = to_fixed(u.least_confidence);
    if (row.difficulty != nullptr) {
      const F d = L::load(row.difficulty + x);
      fields[kDifficulty] = to_fixed(d);
      fields[kDifficultyEntropy] = to_fixed(d * u.entropy);
      fields[kDifficultyMargin] = to_fixed(d * u.margin);
      fields[kDifficultyLeastConfidence] = to_fixed(d * u.least_confidence);
      L::store_bytes(row.difficulty_levels + x, level_of(d));
      if (row.difficulty_range > 0.0f) {
        const F unit = (d - F(row.difficulty_low)) / F(row.difficulty_range);
        // Only masked pixels lie outside.
        L::store_bytes(row.image_levels + x, level_of(min_(max_(unit, F(0.0f)), F(1.0f))));
      } else {
        L::store_bytes(row.image_levels + x, I(0));
      }
    } else {
      for (int k = kDifficulty; k < kRecord; ++k) fields[k] = I(0);
    }
    L::store_records(row.records + x * kRecord, fields);
  }
}

// ---- sums -------------------------------------------------------------------------------------

template <class L, bool kMasked, bool kRegions>
void add_runs(const RowSums& row) {
  int64_t x = 0;
  while (x < row.width) {
    if (kMasked && row.mask[x] == 0) {
      ++x;
      continue;
    }
    const uint8_t label = row.labels[x];
    const int32_t region = kRegions ? row.regions[x] : -1;
    const int64_t limit = x + kRunPixels < row.width ? x + kRunPixels : row.width;
    typename L::Record sum = L::load_record(row.records + x * kRecord);
    int64_t end = x + 1;
    while (end < limit && row.labels[end] == label && (!kRegions || row.regions[end] == region) &&
           (!kMasked || row.mask[end] != 0)) {
      L::add_record(sum, row.records + end * kRecord);
      ++end;
    }
    L::add_to(row.class_sums + label * kRecord, sum);
    if (kRegions && region >= 0) {
      const int64_t r = region + row.region_offset;
      L::add_to(row.region_sums + r * kRecord, sum);
      row.region_classes[r * row.classes + label] += static_cast<uint32_t>(end - x);
    }
    x = end;
  }
}

template <bool kMasked>
void add_levels(const uint8_t* levels, const uint8_t* mask, int64_t n, uint32_t* hist) {
  for (int64_t x = 0; x < n; ++x) {
    if (!kMasked || mask[x] != 0) ++hist[levels[x]];
  }
}

template <class L, bool kMasked>
void add_row_masked(const RowSums& row) {
  if (row.regions != nullptr) {
    add_runs<L, kMasked, true>(row);
  } else {
    add_runs<L, kMasked, false>(row);
  }
  add_levels<kMasked>(row.entropy_levels, row.mask, row.width, row.entropy_hist);
  if (row.difficulty_levels != nullptr) {
    add_levels<kMasked>(row.difficulty_levels, row.mask, row.width, row.difficulty_hist);
    add_levels<kMasked>(row.image_levels, row.mask, row.width, row.image_hist);
  }
}

template <class L>
void add_row(const RowSums& row) {
  if (row.mask != nullptr) {
    add_row_masked<L, true>(row);
  } else {
    add_row_masked<L, false>(row);
  }
}

// Labels and masks of the rows above, here and below.
inline int64_t boundary_row(const uint8_t* const labels[3], const uint8_t* const masks[3],
                            uint8_t* flags, int64_t n) {
  const uint8_t* here = labels[1];
  const uint8_t* kept = masks[1];
  for (int64_t x = 0; x < n; ++x) flags[x] = 0;
  for (int side = 0; side <= 2; side += 2) {
    const uint8_t* other = labels[side];
    if (other == nullptr) continue;
    if (kept == nullptr) {
      for (int64_t x = 0; x < n; ++x) flags[x] |= here[x] != other[x];
    } else {
      const uint8_t* open = masks[side];
      for (int64_t x = 0; x < n; ++x) flags[x] |= (here[x] != other[x]) & (open[x] != 0);
    }
  }
  for (int64_t x = 0; x + 1 < n; ++x) {
    const uint8_t differ = here[x] != here[x + 1];
    flags[x] |= static_cast<uint8_t>(differ & (kept == nullptr || kept[x + 1] != 0));
    flags[x + 1] |= static_cast<uint8_t>(differ & (kept == nullptr || kept[x] != 0));
  }
  int64_t count = 0;
  for (int64_t x = 0; x < n; ++x) {
    if (kept != nullptr) flags[x] &= kept[x] != 0;
    count += flags[x];
  }
  return count;
}

}  // namespace
}  // namespace deal
