#include "cpu/k_center.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include <algorithm>
#include <limits>

#include "cpu/team.h"

namespace deal {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kUndirected = 2.0f;            // squared distance of orthogonal unit vectors
constexpr int64_t kPiece = 1024;               // rows a thread takes at a time
constexpr int64_t kBlock = 64;                 // rows whose bounds are looked at together
constexpr double kFixedPoint = 68719476736.0;  // 2^36: components within 1 of 2^26 rows fit int64
constexpr size_t kShown = 5;                   // bad rows worth naming

// Squared distances are not negative, so their bits order as they do.
uint32_t bits_of(float squared) {
  uint32_t bits;
  memcpy(&bits, &squared, sizeof bits);
  return bits;
}

// Keys of the farthest and of the nearest row: the greatest wins, the lowest of equal rows.
uint64_t ordered(uint32_t rank, int64_t row) {
  return static_cast<uint64_t>(rank) << 32 | ~static_cast<uint32_t>(row);
}
uint64_t far_key(float squared, int64_t row) { return ordered(bits_of(squared), row); }
uint64_t near_key(float squared, int64_t row) { return ordered(~bits_of(squared), row); }
int64_t row_of(uint64_t key) { return ~static_cast<uint32_t>(key); }

float squared_of(uint64_t far_key) {
  const uint32_t bits = static_cast<uint32_t>(far_key >> 32);
  float squared;
  memcpy(&squared, &bits, sizeof squared);
  return squared;
}

void raise(std::atomic<uint64_t>& best, uint64_t other) {
  uint64_t seen = best;
  while (seen < other && !best.compare_exchange_weak(seen, other)) {
  }
}

}  // namespace

KCenter::KCenter(const float* features, int64_t rows, int64_t width, const uint8_t* candidates,
                 Metric metric, int threads, const Kernels& kernels, Interrupted interrupted)
    : features_(features),
      rows_(rows),
      width_(width),
      stride_((width + 15) / 16 * 16),
      metric_(metric),
      kernels_(kernels),
      interrupted_(std::move(interrupted)),
      pool_(threads),
      scale_(static_cast<size_t>(rows)),
      bound_(static_cast<size_t>(rows)),
      seen_(static_cast<size_t>(rows)) {
  for (int64_t r = 0; r < rows; ++r) bound_[r] = candidates[r] ? kInfinity : -1.0f;
}

// Calls fn(begin, end, slot) over pieces of the rows until the work is to end.
template <class Fn>
void KCenter::over_rows(Fn&& fn) {
  Team(&pool_).run((rows_ + kPiece - 1) / kPiece, 1, [&](int64_t first, int64_t last, int slot) {
    for (int64_t piece = first; piece < last; ++piece) {
      if (slot == 0 && interrupted_()) stop_ = true;
      if (stop_) return;
      fn(piece * kPiece, std::min(rows_, (piece + 1) * kPiece), slot);
    }
  });
}

// Sets the factor of a row; returns its greatest magnitude.
float KCenter::measure(int64_t r) {
  const float* values = row(r);
  double sum = 0.0;
  float largest = 0.0f;
  for (int64_t i = 0; i < width_; ++i) {
    sum += static_cast<double>(values[i]) * values[i];
    largest = std::max(largest, fabsf(values[i]));
  }
  const double norm = sqrt(sum);
  if (!isfinite(sum)) {
    scale_[r] = NAN;
  } else if (metric_ == Metric::kCosine) {
    scale_[r] = norm < FLT_MIN ? 0.0f : static_cast<float>(1.0 / norm);
  }
  return largest;
}

std::vector<int64_t> KCenter::prepare(const int64_t* centers, int64_t count, int64_t picks) {
  std::vector<float> largest(static_cast<size_t>(pool_.size()));
  over_rows([&](int64_t begin, int64_t end, int slot) {
    for (int64_t r = begin; r < end; ++r) {
      if (bound_[r] >= 0) largest[slot] = std::max(largest[slot], measure(r));
    }
  });
  for (int64_t c = 0; c < count; ++c) largest[0] = std::max(largest[0], measure(centers[c]));
  std::vector<int64_t> bad;
  for (int64_t r = 0; r < rows_ && bad.size() < kShown; ++r) {
    if (isnan(scale_[r])) bad.push_back(r);
  }
  if (!bad.empty() || stop_) return bad;
  if (metric_ == Metric::kEuclidean) {
    // Squares of values up to 1 neither overflow nor vanish, and a power of two changes no bit.
    int exponent = 0;
    frexpf(*std::max_element(largest.begin(), largest.end()), &exponent);
    unit_ = ldexpf(1.0f, -std::max(exponent, -126));
    std::fill(scale_.begin(), scale_.end(), unit_);
  }
  Carver sizes(nullptr);
  sizes.take<float>((count + picks) * stride_);
  memory_.grow(sizes.used());
  centers_ = Carver(memory_.data()).take<float>((count + picks) * stride_);
  for (int64_t c = 0; c < count; ++c) add(centers[c]);
  return bad;
}

void KCenter::add(int64_t r) {
  if (scale_[r] == 0.0f) {
    undirected_ = true;
    return;
  }
  float* center = centers_ + count_ * stride_;
  for (int64_t i = 0; i < width_; ++i) center[i] = row(r)[i] * scale_[r];
  ++count_;
}

// Brings the bound of a row up to date with all centers, or until it is below `enough`.
float KCenter::refresh(int64_t r, float enough) {
  float bound = bound_[r];
  if (scale_[r] == 0.0f) {
    if (count_ > 0) bound = kUndirected;
    if (undirected_) bound = 0.0f;
  } else {
    int64_t next = seen_[r];
    bound = kernels_.nearest_center(row(r), scale_[r], width_, centers_, stride_, &next, count_,
                                    bound, enough);
    seen_[r] = static_cast<int32_t>(next);
    if (undirected_) bound = std::min(bound, kUndirected);
  }
  return bound_[r] = bound;
}

int64_t KCenter::central() {
  std::vector<std::vector<int64_t>> sums(static_cast<size_t>(pool_.size()));
  for (auto& sum : sums) sum.resize(static_cast<size_t>(width_) + 2);
  over_rows([&](int64_t begin, int64_t end, int slot) {
    int64_t* sum = sums[slot].data();
    for (int64_t r = begin; r < end; ++r) {
      if (bound_[r] < 0) continue;
      for (int64_t i = 0; i < width_; ++i) {
        sum[i] += llrint(static_cast<double>(row(r)[i] * scale_[r]) * kFixedPoint);
      }
      sum[width_] += scale_[r] == 0.0f;
      ++sum[width_ + 1];
    }
  });
  if (stop_) return 0;
  for (size_t s = 1; s < sums.size(); ++s) {
    for (int64_t i = 0; i < width_ + 2; ++i) sums[0][i] += sums[s][i];
  }
  const double rows = static_cast<double>(sums[0][width_ + 1]);
  std::vector<float> mean(static_cast<size_t>(stride_));
  for (int64_t i = 0; i < width_; ++i) {
    mean[i] = static_cast<float>(static_cast<double>(sums[0][i]) / kFixedPoint / rows);
  }
  // The part of the mean on the axis of rows without direction.
  const float apart = static_cast<float>(static_cast<double>(sums[0][width_]) / rows);
  std::atomic<uint64_t> best{0};
  over_rows([&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      if (bound_[r] < 0) continue;
      int64_t next = 0;
      const float squared = kernels_.nearest_center(row(r), scale_[r], width_, mean.data(), stride_,
                                                    &next, 1, kInfinity, 0.0f);
      const float rest = scale_[r] == 0.0f ? 1.0f - apart : apart;
      raise(best, near_key(squared + rest * rest, r));
    }
  });
  return row_of(best);
}

int64_t KCenter::farthest() {
  // The greatest bound is a good guess: once it is true, most others are below it.
  const int64_t guess = std::max_element(bound_.begin(), bound_.end()) - bound_.begin();
  std::atomic<uint64_t> best{far_key(refresh(guess, 0.0f), guess)};
  over_rows([&](int64_t begin, int64_t end, int) {
    for (int64_t block = begin; block < end; block += kBlock) {
      const int64_t stop = std::min(end, block + kBlock);
      const float known = squared_of(best);
      bool any = false;
      for (int64_t r = block; r < stop; ++r) any |= bound_[r] >= known;
      if (!any) continue;
      for (int64_t r = block; r < stop; ++r) {
        const uint64_t least = best;
        if (bound_[r] < 0 || far_key(bound_[r], r) < least) continue;
        raise(best, far_key(refresh(r, squared_of(least)), r));
      }
    }
  });
  return row_of(best);
}

void KCenter::pick(int64_t given, int64_t count, int64_t first, int64_t* picks, double* distances) {
  for (int64_t k = 0; k < count && !stop_; ++k) {
    if (k == 0 && first < 0 && given == 0) first = central();
    picks[k] = k == 0 && first >= 0 ? first : farthest();
    if (stop_) return;
    const double distance = take(picks[k]);
    if (distances != nullptr) distances[k] = distance;
  }
}

double KCenter::take(int64_t r) {
  const double squared = refresh(r, 0.0f);
  bound_[r] = -1.0f;
  add(r);
  return metric_ == Metric::kCosine ? squared / 2 : sqrt(squared) / unit_;
}

}  // namespace deal
