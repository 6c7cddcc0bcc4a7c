#include "cpu/resample.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define DEAL_RESAMPLE_AVX2
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "cpu/processor.h"

namespace deal {
namespace {

constexpr int kBits = 32 - 8 - 2;
constexpr int32_t kHalf = 1 << (kBits - 1);
// What the widest load reads beyond the last pixel of a row.
constexpr int64_t kPad = 16;

double weight(ResampleFilter filter, double x) {
  x = std::fabs(x);
  if (filter == ResampleFilter::kBilinear) return x < 1.0 ? 1.0 - x : 0.0;
  constexpr double a = -0.5;
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// For every output position the first input position, and `taps` coefficients from there on. taps
// is even; coefficients beyond those an output position has are 0.
struct Taps {
  int64_t taps = 0;
  std::vector<int64_t> first, count;
  std::vector<int32_t> weights;

  Taps(int64_t in, int64_t out, ResampleFilter filter) {
    const double scale = static_cast<double>(in) / static_cast<double>(out);
    const double widened = std::max(scale, 1.0);
    const double support = (filter == ResampleFilter::kBilinear ? 1.0 : 2.0) * widened;
    taps = 2 * static_cast<int64_t>(std::ceil(support)) + 2;
    weights.assign(static_cast<size_t>(taps * out), 0);
    std::vector<double> k(static_cast<size_t>(taps));
    for (int64_t i = 0; i < out; ++i) {
      const double center = (static_cast<double>(i) + 0.5) * scale;
      const double step = 1.0 / widened;
      const auto low = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
      const auto high = std::min<int64_t>(static_cast<int64_t>(center + support + 0.5), in);
      double sum = 0.0;
      for (int64_t j = 0; j < high - low; ++j) {
        k[static_cast<size_t>(j)] =
            weight(filter, (static_cast<double>(j + low) - center + 0.5) * step);
        sum += k[static_cast<size_t>(j)];
      }
      for (int64_t j = 0; j < high - low; ++j) {
        double w = k[static_cast<size_t>(j)];
        if (sum != 0.0) w /= sum;
        weights[static_cast<size_t>(i * taps + j)] =
            static_cast<int32_t>((w < 0 ? -0.5 : 0.5) + w * (1 << kBits));
      }
      first.push_back(low);
      count.push_back(high - low);
    }
  }
};

uint8_t clip8(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kBits, 0, 255)); }

void row_portable(const uint8_t* row, const Taps& x, int64_t width, uint8_t* out) {
  for (int64_t i = 0; i < width; ++i) {
    const uint8_t* p = row + 3 * x.first[static_cast<size_t>(i)];
    const int32_t* w = x.weights.data() + i * x.taps;
    int32_t sum[3] = {kHalf, kHalf, kHalf};
    for (int64_t j = 0; j < x.count[static_cast<size_t>(i)]; ++j) {
      for (int c = 0; c < 3; ++c) sum[c] += p[3 * j + c] * w[j];
    }
    for (int c = 0; c < 3; ++c) out[3 * i + c] = clip8(sum[c]);
  }
}

void column_portable(const uint8_t* rows, int64_t stride, const int32_t* w, int64_t count,
                     int64_t begin, int64_t end, uint8_t* out) {
  for (int64_t i = begin; i < end; ++i) {
    int32_t sum = kHalf;
    for (int64_t j = 0; j < count; ++j) sum += rows[j * stride + i] * w[j];
    out[i] = clip8(sum);
  }
}

#ifdef DEAL_RESAMPLE_AVX2

// No function of another header is inlined into these: it would need AVX2 everywhere.
__attribute__((target("avx2"))) void row_avx2(const uint8_t* row, const int64_t* first,
                                              const int64_t* count, const int32_t* weights,
                                              int64_t taps, int64_t width, uint8_t* out) {
  const __m128i spread =
      _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, -1, -1, -1, -1, -1, -1, -1, -1);  // two pixels
  const __m256i half = _mm256_setr_epi32(kHalf, kHalf, kHalf, kHalf, 0, 0, 0, 0);
  const __m256i twice = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
  for (int64_t i = 0; i < width; ++i) {
    const uint8_t* p = row + 3 * first[i];
    const int32_t* w = weights + i * taps;
    __m256i sum = half;
    for (int64_t j = 0; j < count[i]; j += 2) {
      const __m128i pixels =
          _mm_shuffle_epi8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 3 * j)), spread);
      const __m128i pair = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(w + j));
      const __m256i both = _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(pair), twice);
      sum = _mm256_add_epi32(sum, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(pixels), both));
    }
    __m128i found = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    found = _mm_srai_epi32(found, kBits);
    found = _mm_packus_epi16(_mm_packs_epi32(found, found), found);
    const int32_t bytes = _mm_cvtsi128_si32(found);
    __builtin_memcpy(out + 3 * i, &bytes, 4);  // the fourth byte is the next pixel's
  }
}

__attribute__((target("avx2"))) void column_avx2(const uint8_t* rows, int64_t stride,
                                                 const int32_t* w, int64_t count, int64_t end,
                                                 uint8_t* out) {
  for (int64_t i = 0; i < end; i += 16) {
    __m256i low = _mm256_set1_epi32(kHalf), high = low;
    for (int64_t j = 0; j < count; ++j) {
      const __m128i pixels =
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + j * stride + i));
      const __m256i both = _mm256_set1_epi32(w[j]);
      low = _mm256_add_epi32(low, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(pixels), both));
      high = _mm256_add_epi32(
          high, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(_mm_srli_si128(pixels, 8)), both));
    }
    low = _mm256_srai_epi32(low, kBits);
    high = _mm256_srai_epi32(high, kBits);
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
    const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(words, words), 0xD8);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm256_castsi256_si128(bytes));
  }
}

#endif

// A row without gaps: the widest loads reach beyond its end.
void copy_row(const RgbView& image, int64_t y, uint8_t* to) {
  const uint8_t* const from = image.data + y * image.stride[0];
  if (image.has_packed_pixels()) {
    std::memcpy(to, from, static_cast<size_t>(3 * image.width));
    return;
  }
  for (int64_t x = 0; x < image.width; ++x) {
    for (int64_t c = 0; c < 3; ++c) {
      to[3 * x + c] = from[x * image.stride[1] + c * image.stride[2]];
    }
  }
}

// Where the positions of an axis lie; Pillow adds up the steps (ImagingScaleAffine).
std::vector<int64_t> nearest_positions(int64_t in, int64_t out) {
  const double step = static_cast<double>(in) / static_cast<double>(out);
  std::vector<int64_t> found;
  double at = step * 0.5;
  for (int64_t i = 0; i < out; ++i, at += step) {
    found.push_back(std::min(static_cast<int64_t>(at), in - 1));
  }
  return found;
}

}  // namespace

void nearest_rgb(const RgbView& image, uint8_t* out, int64_t out_height, int64_t out_width) {
  const std::vector<int64_t> rows = nearest_positions(image.height, out_height);
  const std::vector<int64_t> columns = nearest_positions(image.width, out_width);
  for (const int64_t y : rows) {
    for (const int64_t x : columns) {
      for (int64_t c = 0; c < 3; ++c) {
        *out++ = image.data[y * image.stride[0] + x * image.stride[1] + c * image.stride[2]];
      }
    }
  }
}

void resample_rgb(const RgbView& image, uint8_t* out, int64_t out_height, int64_t out_width,
                  ResampleFilter filter, bool vector) {
  const int64_t height = image.height, width = image.width;
#ifdef DEAL_RESAMPLE_AVX2
  const bool avx2 = vector && processor().avx2;
#else
  (void)vector;
#endif
  const int64_t stride = 3 * out_width;
  std::vector<uint8_t> resized;
  if (out_width != width) {
    const Taps x(width, out_width, filter);
    resized.resize(static_cast<size_t>(height * stride + kPad));
    std::vector<uint8_t> row(static_cast<size_t>(3 * (width + x.taps) + kPad));
    for (int64_t y = 0; y < height; ++y) {
      uint8_t* to = resized.data() + y * stride;
      copy_row(image, y, row.data());
#ifdef DEAL_RESAMPLE_AVX2
      if (avx2) {
        row_avx2(row.data(), x.first.data(), x.count.data(), x.weights.data(), x.taps, out_width,
                 to);
        continue;
      }
#endif
      row_portable(row.data(), x, out_width, to);
    }
  } else if (!image.is_packed()) {
    resized.resize(static_cast<size_t>(height * stride));
    for (int64_t y = 0; y < height; ++y) copy_row(image, y, resized.data() + y * stride);
  }
  const uint8_t* const rows = resized.empty() ? image.data : resized.data();
  if (out_height == height) {
    std::memcpy(out, rows, static_cast<size_t>(height * stride));
    return;
  }
  const Taps y(height, out_height, filter);
  for (int64_t i = 0; i < out_height; ++i) {
    const auto at = static_cast<size_t>(i);
    const int32_t* w = y.weights.data() + i * y.taps;
    const uint8_t* from = rows + y.first[at] * stride;
    int64_t done = 0;
#ifdef DEAL_RESAMPLE_AVX2
    if (avx2) {
      done = stride / 16 * 16;
      column_avx2(from, stride, w, y.count[at], done, out + i * stride);
    }
#endif
    column_portable(from, stride, w, y.count[at], done, stride, out + i * stride);
  }
}

}  // namespace deal
