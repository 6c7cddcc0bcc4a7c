// The loops over rows, written once over a lane type L. Included by one file an instruction set.
#pragma once

#include "abi/deal.h"
#include "cpu/kernels.h"
#include "cpu/sampling_impl.h"
#include "pixel/pixel_math.h"

namespace deal {
namespace {

// ---- difficulty --------------------------------------------------------------------------------

template <class L>
void difficulty_row(const Between& row, Taps taps, const uint8_t* mask, float* out, int64_t n,
                    float* low, float* high) {
  using F = typename L::F;
  F smallest(INFINITY), largest(-INFINITY);
  for (int64_t x = 0; x < n; x += L::width) {
    const F d = sigmoid(Block<L>(taps, x).at(row, 0));
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

// Labels, uncertainties and their levels of a block of pixels in each of kRows rows: what is
// sampled of a class serves all of them, and their chains of operations overlap.
template <class L, int kRows, bool kWindowed>
DEAL_INLINE void class_block(const PixelRow* rows, const Block<L>& block, int64_t x) {
  using F = typename L::F;
  using I = typename L::I;
  const int32_t classes = rows->classes;
  // Two arrays, as GCC 12 copies a struct of both in halves of an AVX2 register, and loading what
  // was stored in halves stalls.
  F upper[DEAL_MAX_CLASSES], step[DEAL_MAX_CLASSES];
  TopTwo<F, I> top[kRows];
  F weight[kRows], sum[kRows], weighted[kRows];
  for (int r = 0; r < kRows; ++r) {
    weight[r] = F(rows[r].logits.weight);
    sum[r] = weighted[r] = F(0.0f);
  }
  block.template between<kWindowed>(rows->logits, 0, upper[0], step[0]);
  for (int r = 0; r < kRows; ++r) top[r] = TopTwo<F, I>(fma_(weight[r], step[0], upper[0]));
  I c_here(1);
  for (int32_t c = 1; c < classes; ++c) {
    F above, below;
    block.template between<kWindowed>(rows->logits, c, above, below);
    for (int r = 0; r < kRows; ++r) top[r].add(fma_(weight[r], below, above), c_here);
    upper[c] = above;
    step[c] = below;
    c_here = add_wrapping(c_here, I(1));
  }
  for (int32_t c = 0; c < classes; ++c) {
    for (int r = 0; r < kRows; ++r) {
      const F at = fma_(weight[r], step[c], upper[c]);
      const F d = max_(at - top[r].first, F(kLowestExponent));
      const F e = exp_in_range(d);
      sum[r] = sum[r] + e;
      weighted[r] = fma_(e, d, weighted[r]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    const PixelRow& row = rows[r];
    const Uncertainty<F> u = uncertainty_of(sum[r], weighted[r], top[r].second - top[r].first);
    L::store_bytes(row.labels + x, top[r].label);
    L::store(row.plane(0) + x, u.entropy);
    L::store(row.plane(1) + x, u.margin);
    L::store(row.plane(2) + x, u.least_confidence);
    L::store_bytes(row.level_row(0) + x, level_of(u.entropy * F(row.inverse_log_classes)));
  }
}

// Sums of neighbouring blocks of one class and region, held until the next.
template <class L>
struct Run {
  typename L::Wide sum;
  int64_t pixels;
  int32_t label, region;

  DEAL_INLINE Run() : pixels(0), label(0), region(-1) { L::clear(sum); }
  DEAL_INLINE void add(const PixelRow& row, int32_t l, int32_t r, int64_t n,
                       const typename L::I (&fields)[kRecord]) {
    if (l != label || r != region) {
      flush(row);
      label = l;
      region = r;
    }
    L::add_fields(sum, fields);
    pixels += n;
  }
  DEAL_INLINE void flush(const PixelRow& row) {
    if (pixels == 0) return;
    L::add_to(row.class_sums + label * kRecord, sum);
    if (region >= 0) {
      const int64_t at = region + row.region_offset;
      L::add_to(row.region_sums + at * kRecord, sum);
      row.region_classes[at * row.classes + label] += static_cast<uint32_t>(pixels);
    }
    L::clear(sum);
    pixels = 0;
  }
};

// Which pixels of a block lie in the row and are not masked.
template <class L>
DEAL_INLINE uint32_t pixels_of(const PixelRow& row, int64_t x) {
  const int64_t left = row.width - x;
  uint32_t bits = left < L::width ? (1u << left) - 1 : L::kAll;
  if (row.mask != nullptr) {
    for (int64_t k = 0; k < L::width && k < left; ++k) {
      if (row.mask[x + k] == 0) bits &= ~(1u << k);
    }
  }
  return bits;
}

template <class L>
DEAL_INLINE typename L::I region_block(const PixelRow& row, int64_t x) {
  if (row.regions == nullptr) return typename L::I(-1);
  const int64_t left = row.width - x;
  if (left >= L::width) return L::load_int(row.regions + x);
  int32_t ids[L::width] = {};  // the caller's map has no padding
  for (int64_t k = 0; k < left; ++k) ids[k] = row.regions[x + k];
  return L::load_int(ids);
}

// Adds the open pixels of a block, one class and region after the other.
template <class L>
DEAL_INLINE void add_groups(const PixelRow& row, int64_t x, uint32_t open, typename L::I labels,
                            typename L::I regions, const typename L::I (&fields)[kRecord],
                            Run<L>& run) {
  using I = typename L::I;
  while (open != 0) {
    const int first = __builtin_ctz(open);
    const int32_t label = row.labels[x + first];
    const int32_t region = row.regions != nullptr ? row.regions[x + first] : -1;
    const uint32_t same = open & L::equal(labels, I(label)) & L::equal(regions, I(region));
    if (same == L::kAll) {
      run.add(row, label, region, L::width, fields);
      return;
    }
    I kept[kRecord];
    for (int k = 0; k < kRecord; ++k) kept[k] = L::keep(fields[k], same);
    run.add(row, label, region, L::count(same), kept);
    open &= ~same;
  }
}

// Adds the open pixels of a block one after the other, but to their region at once if they share
// it.
template <class L>
DEAL_INLINE void add_pixels(const PixelRow& row, int64_t x, uint32_t open, typename L::I regions,
                            const typename L::I (&fields)[kRecord]) {
  using I = typename L::I;
  int32_t records[L::width * kRecord];
  L::store_records(records, fields);
  const int32_t region = row.regions != nullptr ? row.regions[x + __builtin_ctz(open)] : -1;
  const bool one_region = (open & ~L::equal(regions, I(region))) == 0;
  if (one_region && region >= 0) {
    I kept[kRecord];
    for (int k = 0; k < kRecord; ++k) kept[k] = L::keep(fields[k], open);
    typename L::Wide sum;
    L::clear(sum);
    L::add_fields(sum, kept);
    L::add_to(row.region_sums + (region + row.region_offset) * kRecord, sum);
  }
  for (; open != 0; open &= open - 1) {
    const int k = __builtin_ctz(open);
    const int32_t label = row.labels[x + k];
    L::add_record(row.class_sums + label * kRecord, records + k * kRecord);
    if (row.regions == nullptr || row.regions[x + k] < 0) continue;
    const int64_t at = row.regions[x + k] + row.region_offset;
    if (!one_region) L::add_record(row.region_sums + at * kRecord, records + k * kRecord);
    ++row.region_classes[at * row.classes + label];
  }
}

// Adds a block to the sums of its classes and regions: mostly there is one of each.
template <class L>
DEAL_INLINE void add_block(const PixelRow& row, int64_t x, typename L::I labels,
                           const typename L::I (&fields)[kRecord], Run<L>& run) {
  const uint32_t open = pixels_of<L>(row, x);
  const typename L::I regions = region_block<L>(row, x);
  const uint32_t changes = ~L::equal(labels, L::load_bytes(row.labels + x + 1)) & L::kAll >> 1;
  if (L::count(changes) < 2 || open == 0) {
    add_groups<L>(row, x, open, labels, regions, fields, run);
  } else {
    add_pixels<L>(row, x, open, regions, fields);
  }
}

template <bool kMasked>
inline void add_levels(const uint8_t* levels, const uint8_t* mask, int64_t n, uint32_t* hist) {
  int64_t x = 0;
  if (!kMasked) {
    // The next pixel often has the same level, and would have to wait for its count.
    for (; x + kHistogramCopies <= n; x += kHistogramCopies) {
      for (int k = 0; k < kHistogramCopies; ++k) ++hist[k * kLevels + levels[x + k]];
    }
  }
  for (; x < n; ++x) {
    if (!kMasked || mask[x] != 0) ++hist[x % kHistogramCopies * kLevels + levels[x]];
  }
}

template <class L, bool kDifficult>
DEAL_INLINE void sum_row(const PixelRow& row) {
  using F = typename L::F;
  using I = typename L::I;
  Run<L> run;
  for (int64_t x = 0; x < row.width; x += L::width) {
    const F entropy = L::load(row.plane(0) + x), margin = L::load(row.plane(1) + x),
            least_confidence = L::load(row.plane(2) + x);
    I fields[kRecord];
    fields[kCount] = I(1);
    fields[kEntropy] = to_fixed(entropy);
    fields[kMargin] = to_fixed(margin);
    fields[kLeastConfidence] = to_fixed(least_confidence);
    if (kDifficult) {
      const F d = L::load(row.difficulty + x);
      fields[kDifficulty] = to_fixed(d);
      fields[kDifficultyEntropy] = to_fixed(d * entropy);
      fields[kDifficultyMargin] = to_fixed(d * margin);
      fields[kDifficultyLeastConfidence] = to_fixed(d * least_confidence);
      L::store_bytes(row.level_row(1) + x, level_of(d));
      // Only masked pixels lie outside.
      const F unit = (d - F(row.difficulty_low)) * F(row.inverse_range);
      L::store_bytes(row.level_row(2) + x, level_of(min_(max_(unit, F(0.0f)), F(1.0f))));
    } else {
      for (int k = kDifficulty; k < kRecord; ++k) fields[k] = I(0);
    }
    add_block<L>(row, x, L::load_bytes(row.labels + x), fields, run);
  }
  run.flush(row);
}

// Adds a row to its sums. Apart from the loop over classes: where branches are foretold wrongly
// little work is lost.
template <class L>
DEAL_INLINE void add_row(const PixelRow& row) {
  const auto add = row.mask != nullptr ? add_levels<true> : add_levels<false>;
  add(row.level_row(0), row.mask, row.width, row.entropy_hist);
  if (row.difficulty == nullptr) {
    sum_row<L, false>(row);
    return;
  }
  sum_row<L, true>(row);
  add(row.level_row(1), row.mask, row.width, row.difficulty_hist);
  add(row.level_row(2), row.mask, row.width, row.image_hist);
}

template <class L, int kRows>
DEAL_INLINE void class_rows(const PixelRow* rows) {
  for (int64_t x = 0; x < rows->width; x += L::width) {
    const Block<L> block(rows->taps, x);
    if (block.windowed) {
      class_block<L, kRows, true>(rows, block, x);
    } else {
      class_block<L, kRows, false>(rows, block, x);
    }
  }
}

template <class L, int kRows>
DEAL_INLINE void score_rows(const PixelRow* rows, int count) {
  static_assert(kRows <= kRowsAtOnce, "there are planes for fewer");
  for (; count >= kRows; rows += kRows, count -= kRows) {
    class_rows<L, kRows>(rows);
    for (int r = 0; r < kRows; ++r) add_row<L>(rows[r]);
  }
  if constexpr (kRows > 1) score_rows<L, kRows / 2>(rows, count);
}

template <class L>
void pixel_rows(const PixelRow* rows, int count) {
  score_rows<L, L::kRows>(rows, count);
}

// Labels and masks of the rows above, here and below.
inline void boundary_row(const uint8_t* const labels[3], const uint8_t* const masks[3],
                         uint8_t* __restrict flags, int64_t n) {
  const uint8_t* here = labels[1];
  const uint8_t* kept = masks[1];
  const uint8_t* above = labels[0] != nullptr ? labels[0] : here;
  const uint8_t* below = labels[2] != nullptr ? labels[2] : here;
  if (kept == nullptr) {
    for (int64_t x = 1; x + 1 < n; ++x) {
      flags[x] = (here[x] != above[x]) | (here[x] != below[x]) | (here[x] != here[x - 1]) |
                 (here[x] != here[x + 1]);
    }
    for (int64_t x = 0; x < n; x += n > 1 ? n - 1 : 1) {  // the ends
      flags[x] = (here[x] != above[x]) | (here[x] != below[x]);
      if (x > 0) flags[x] |= here[x] != here[x - 1];
      if (x + 1 < n) flags[x] |= here[x] != here[x + 1];
    }
    return;
  }
  const uint8_t* open_above = labels[0] != nullptr ? masks[0] : kept;
  const uint8_t* open_below = labels[2] != nullptr ? masks[2] : kept;
  for (int64_t x = 0; x < n; ++x) {
    uint8_t flag = (here[x] != above[x]) & (open_above[x] != 0);
    flag |= (here[x] != below[x]) & (open_below[x] != 0);
    if (x > 0) flag |= (here[x] != here[x - 1]) & (kept[x - 1] != 0);
    if (x + 1 < n) flag |= (here[x] != here[x + 1]) & (kept[x + 1] != 0);
    flags[x] = flag & (kept[x] != 0);
  }
}

}  // namespace
}  // namespace deal
