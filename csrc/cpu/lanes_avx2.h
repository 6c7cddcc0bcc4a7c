// Eight pixels at a time with AVX2 and FMA. Include only where these are the target.
#pragma once

#include <immintrin.h>

#include "pixel/pixel_math.h"

namespace deal {
namespace {

struct Int8 {
  __m256i v;
  Int8() = default;
  DEAL_INLINE Int8(__m256i x) : v(x) {}
  DEAL_INLINE explicit Int8(int32_t x) : v(_mm256_set1_epi32(x)) {}
};

struct Float8 {
  __m256 v;
  Float8() = default;
  DEAL_INLINE Float8(__m256 x) : v(x) {}
  DEAL_INLINE explicit Float8(float x) : v(_mm256_set1_ps(x)) {}
};

struct Mask8 {
  __m256 v;
};

DEAL_INLINE Float8 operator+(Float8 a, Float8 b) { return _mm256_add_ps(a.v, b.v); }
DEAL_INLINE Float8 operator-(Float8 a, Float8 b) { return _mm256_sub_ps(a.v, b.v); }
DEAL_INLINE Float8 operator*(Float8 a, Float8 b) { return _mm256_mul_ps(a.v, b.v); }
DEAL_INLINE Float8 operator/(Float8 a, Float8 b) { return _mm256_div_ps(a.v, b.v); }
DEAL_INLINE Float8 fma_(Float8 a, Float8 b, Float8 c) { return _mm256_fmadd_ps(a.v, b.v, c.v); }
DEAL_INLINE Float8 min_(Float8 a, Float8 b) { return _mm256_min_ps(a.v, b.v); }
DEAL_INLINE Float8 max_(Float8 a, Float8 b) { return _mm256_max_ps(a.v, b.v); }
DEAL_INLINE Mask8 less(Float8 a, Float8 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
DEAL_INLINE Float8 select(Mask8 m, Float8 a, Float8 b) { return _mm256_blendv_ps(b.v, a.v, m.v); }
DEAL_INLINE Int8 select(Mask8 m, Int8 a, Int8 b) {
  return _mm256_blendv_epi8(b.v, a.v, _mm256_castps_si256(m.v));
}
DEAL_INLINE Int8 as_int(Float8 a) { return _mm256_castps_si256(a.v); }
DEAL_INLINE Float8 as_float(Int8 a) { return _mm256_castsi256_ps(a.v); }
DEAL_INLINE Int8 shift_left_23(Int8 a) { return _mm256_slli_epi32(a.v, 23); }
DEAL_INLINE Int8 shift_right_23(Int8 a) { return _mm256_srli_epi32(a.v, 23); }
DEAL_INLINE Int8 add_wrapping(Int8 a, Int8 b) { return _mm256_add_epi32(a.v, b.v); }
DEAL_INLINE Int8 bit_and(Int8 a, Int8 b) { return _mm256_and_si256(a.v, b.v); }
DEAL_INLINE Int8 bit_or(Int8 a, Int8 b) { return _mm256_or_si256(a.v, b.v); }
DEAL_INLINE Int8 min_(Int8 a, Int8 b) { return _mm256_min_epi32(a.v, b.v); }
DEAL_INLINE Int8 count_equal(Int8 count, Int8 a, Int8 b) {
  return _mm256_sub_epi32(count.v, _mm256_cmpeq_epi32(a.v, b.v));
}
DEAL_INLINE Int8 truncate(Float8 a) { return _mm256_cvttps_epi32(a.v); }
DEAL_INLINE Float8 to_float(Int8 a) { return _mm256_cvtepi32_ps(a.v); }
DEAL_INLINE Int8 round_to_int(Float8 a) { return _mm256_cvtps_epi32(a.v); }

struct Avx2Lanes {
  using F = Float8;
  using I = Int8;
  static constexpr int width = 8;
  static constexpr int kRows = 2;  // scored together, as registers allow

  static DEAL_INLINE F load(const float* p) { return _mm256_loadu_ps(p); }
  static DEAL_INLINE void store(float* p, F v) { _mm256_storeu_ps(p, v.v); }
  static DEAL_INLINE F hold(F a) { return a; }
  static DEAL_INLINE I load_int(const int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static DEAL_INLINE void store_int(int32_t* p, I v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v.v);
  }

  static DEAL_INLINE float sum8(__m256 v) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static DEAL_INLINE float sum16(const F (&part)[2]) {
    return sum8(_mm256_add_ps(part[0].v, part[1].v));
  }

  // Where the samples of eight pixels lie within eight neighbours, one load and a permutation
  // replace the gather.
  static DEAL_INLINE bool window(const int32_t* first, const int32_t* second) {
    return second[7] - first[0] < 8;
  }
  static DEAL_INLINE I offsets(const int32_t* index, int32_t base) {
    return _mm256_sub_epi32(load_int(index).v, _mm256_set1_epi32(base));
  }
  static DEAL_INLINE F pick(const float* row, I offset) {
    return _mm256_permutevar8x32_ps(_mm256_loadu_ps(row), offset.v);
  }
  static DEAL_INLINE F gather(const float* row, I index) {
    return _mm256_i32gather_ps(row, index.v, 4);
  }

  static DEAL_INLINE I load_bytes(const uint8_t* p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  static DEAL_INLINE void store_bytes(uint8_t* p, I v) {
    const __m128i words =
        _mm_packus_epi32(_mm256_castsi256_si128(v.v), _mm256_extracti128_si256(v.v, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
  }

  static constexpr uint32_t kAll = 0xff;
  static DEAL_INLINE uint32_t equal(I a, I b) {
    return static_cast<uint32_t>(
        _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(a.v, b.v))));
  }
  static DEAL_INLINE I keep(I v, uint32_t bits) {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i set = _mm256_and_si256(_mm256_set1_epi32(static_cast<int32_t>(bits)), bit);
    return _mm256_and_si256(v.v, _mm256_cmpeq_epi32(set, bit));
  }
  static DEAL_INLINE int64_t count(uint32_t bits) { return __builtin_popcount(bits); }

  // Sums of the eight integers of a pixel: interleaved, so that each addition halves the vectors.
  // Eight or sixteen pixels fit 32 bits.
  struct Wide {
    __m256i low, high;
  };
  static DEAL_INLINE void clear(Wide& sum) { sum.low = sum.high = _mm256_setzero_si256(); }
  static DEAL_INLINE void add_fields(Wide& sum, const I (&v)[8]) {
    const __m256i low = quads(v[0].v, v[1].v, v[2].v, v[3].v);
    const __m256i high = quads(v[4].v, v[5].v, v[6].v, v[7].v);
    add_wide(sum, _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20),
                                   _mm256_permute2x128_si256(low, high, 0x31)));
  }
  static DEAL_INLINE void add_to(int64_t* total, const Wide& sum) {
    __m256i* out = reinterpret_cast<__m256i*>(total);
    _mm256_storeu_si256(out, _mm256_add_epi64(_mm256_loadu_si256(out), sum.low));
    _mm256_storeu_si256(out + 1, _mm256_add_epi64(_mm256_loadu_si256(out + 1), sum.high));
  }

  static DEAL_INLINE void store_records(int32_t* out, const I (&v)[8]) {
    __m256i low[4], high[4];  // [j]: half records of pixels j and j + 4
    transpose(v[0].v, v[1].v, v[2].v, v[3].v, low);
    transpose(v[4].v, v[5].v, v[6].v, v[7].v, high);
    __m256i* const to = reinterpret_cast<__m256i*>(out);
    for (int j = 0; j < 4; ++j) {
      _mm256_storeu_si256(to + j, _mm256_permute2x128_si256(low[j], high[j], 0x20));
      _mm256_storeu_si256(to + j + 4, _mm256_permute2x128_si256(low[j], high[j], 0x31));
    }
  }
  static DEAL_INLINE void add_record(int64_t* total, const int32_t* record) {
    Wide sum;
    clear(sum);
    add_wide(sum, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(record)));
    add_to(total, sum);
  }

 private:
  static DEAL_INLINE __m256i quads(__m256i a, __m256i b, __m256i c, __m256i d) {
    const __m256i ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    const __m256i cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    return _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
  }
  static DEAL_INLINE void transpose(__m256i a, __m256i b, __m256i c, __m256i d, __m256i (&out)[4]) {
    const __m256i low_ab = _mm256_unpacklo_epi32(a, b), low_cd = _mm256_unpacklo_epi32(c, d);
    const __m256i high_ab = _mm256_unpackhi_epi32(a, b), high_cd = _mm256_unpackhi_epi32(c, d);
    out[0] = _mm256_unpacklo_epi64(low_ab, low_cd);
    out[1] = _mm256_unpackhi_epi64(low_ab, low_cd);
    out[2] = _mm256_unpacklo_epi64(high_ab, high_cd);
    out[3] = _mm256_unpackhi_epi64(high_ab, high_cd);
  }
  static DEAL_INLINE void add_wide(Wide& sum, __m256i v) {
    sum.low = _mm256_add_epi64(sum.low, _mm256_cvtepi32_epi64(_mm256_castsi256_si128(v)));
    sum.high = _mm256_add_epi64(sum.high, _mm256_cvtepi32_epi64(_mm256_extracti128_si256(v, 1)));
  }
};

}  // namespace
}  // namespace deal
