// Sixteen pixels at a time with AVX-512 F, BW, DQ and VL. Include only where these are the target.
#pragma once

#include <immintrin.h>

#include "lanes_avx2.h"
#include "region_math.h"

namespace deal {
namespace {

struct Ints16 {
  __m512i v;
  Ints16() = default;
  DEAL_INLINE Ints16(__m512i x) : v(x) {}
  DEAL_INLINE explicit Ints16(int32_t x) : v(_mm512_set1_epi32(x)) {}
};

struct Floats16 {
  __m512 v;
  Floats16() = default;
  DEAL_INLINE Floats16(__m512 x) : v(x) {}
  DEAL_INLINE explicit Floats16(float x) : v(_mm512_set1_ps(x)) {}
};

struct Mask16 {
  __mmask16 v;
};

DEAL_INLINE Floats16 operator+(Floats16 a, Floats16 b) { return _mm512_add_ps(a.v, b.v); }
DEAL_INLINE Floats16 operator-(Floats16 a, Floats16 b) { return _mm512_sub_ps(a.v, b.v); }
DEAL_INLINE Floats16 operator*(Floats16 a, Floats16 b) { return _mm512_mul_ps(a.v, b.v); }
DEAL_INLINE Floats16 operator/(Floats16 a, Floats16 b) { return _mm512_div_ps(a.v, b.v); }
DEAL_INLINE Floats16 fma_(Floats16 a, Floats16 b, Floats16 c) {
  return _mm512_fmadd_ps(a.v, b.v, c.v);
}
DEAL_INLINE Floats16 min_(Floats16 a, Floats16 b) { return _mm512_min_ps(a.v, b.v); }
DEAL_INLINE Floats16 max_(Floats16 a, Floats16 b) { return _mm512_max_ps(a.v, b.v); }
DEAL_INLINE Mask16 less(Floats16 a, Floats16 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)};
}
DEAL_INLINE Floats16 select(Mask16 m, Floats16 a, Floats16 b) {
  return _mm512_mask_blend_ps(m.v, b.v, a.v);
}
DEAL_INLINE Ints16 select(Mask16 m, Ints16 a, Ints16 b) {
  return _mm512_mask_blend_epi32(m.v, b.v, a.v);
}
DEAL_INLINE Ints16 as_int(Floats16 a) { return _mm512_castps_si512(a.v); }
DEAL_INLINE Floats16 as_float(Ints16 a) { return _mm512_castsi512_ps(a.v); }
DEAL_INLINE Ints16 shift_left_23(Ints16 a) { return _mm512_slli_epi32(a.v, 23); }
DEAL_INLINE Ints16 shift_right_23(Ints16 a) { return _mm512_srli_epi32(a.v, 23); }
DEAL_INLINE Ints16 add_wrapping(Ints16 a, Ints16 b) { return _mm512_add_epi32(a.v, b.v); }
DEAL_INLINE Ints16 bit_and(Ints16 a, Ints16 b) { return _mm512_and_si512(a.v, b.v); }
DEAL_INLINE Ints16 bit_or(Ints16 a, Ints16 b) { return _mm512_or_si512(a.v, b.v); }
DEAL_INLINE Ints16 min_(Ints16 a, Ints16 b) { return _mm512_min_epi32(a.v, b.v); }
DEAL_INLINE Ints16 count_equal(Ints16 count, Ints16 a, Ints16 b) {
  return _mm512_mask_add_epi32(count.v, _mm512_cmpeq_epi32_mask(a.v, b.v), count.v,
                               _mm512_set1_epi32(1));
}
DEAL_INLINE Ints16 truncate(Floats16 a) { return _mm512_cvttps_epi32(a.v); }
DEAL_INLINE Floats16 to_float(Ints16 a) { return _mm512_cvtepi32_ps(a.v); }
DEAL_INLINE Ints16 round_to_int(Floats16 a) { return _mm512_cvtps_epi32(a.v); }

struct Avx512Lanes {
  using F = Floats16;
  using I = Ints16;
  static constexpr int width = 16;

  static DEAL_INLINE F load(const float* p) { return _mm512_loadu_ps(p); }
  static DEAL_INLINE void store(float* p, F v) { _mm512_storeu_ps(p, v.v); }
  static DEAL_INLINE I load_int(const int32_t* p) { return _mm512_loadu_si512(p); }
  static DEAL_INLINE void store_int(int32_t* p, I v) { _mm512_storeu_si512(p, v.v); }

  static DEAL_INLINE float sum16(const F (&part)[1]) {
    return Avx2Lanes::sum8(
        _mm256_add_ps(_mm512_castps512_ps256(part[0].v), _mm512_extractf32x8_ps(part[0].v, 1)));
  }

  // Where the samples of sixteen pixels lie within sixteen neighbours, one load and a permutation
  // replace the gather.
  static DEAL_INLINE bool window(const int32_t* first, const int32_t* second) {
    return second[15] - first[0] < 16;
  }
  static DEAL_INLINE I offsets(const int32_t* index, int32_t base) {
    return _mm512_sub_epi32(load_int(index).v, _mm512_set1_epi32(base));
  }
  static DEAL_INLINE F pick(const float* row, I offset) {
    return _mm512_permutexvar_ps(offset.v, _mm512_loadu_ps(row));
  }
  static DEAL_INLINE F gather(const float* row, I index) {
    return _mm512_i32gather_ps(index.v, row, 4);
  }

  static DEAL_INLINE void store_bytes(uint8_t* p, I v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v.v));
  }

  // Eight integers a pixel, side by side. Fours of integers are gathered by interleaving twice: of
  // pixel 4k + j they lie in quarter k of low[j] and high[j]. Quarters are then put in order.
  static DEAL_INLINE void store_records(int32_t* p, const I (&v)[8]) {
    __m512i low[4], high[4];
    interleave(v[0].v, v[1].v, v[2].v, v[3].v, low);
    interleave(v[4].v, v[5].v, v[6].v, v[7].v, high);
    store_quarters(p, low[0], high[0], low[1], high[1]);
    store_quarters(p + 16, low[2], high[2], low[3], high[3]);
  }
  // Records are eight integers whatever the number of pixels.
  using Record = Avx2Lanes::Record;
  static DEAL_INLINE Record load_record(const int32_t* p) { return Avx2Lanes::load_record(p); }
  static DEAL_INLINE void add_record(Record& sum, const int32_t* p) {
    Avx2Lanes::add_record(sum, p);
  }
  static DEAL_INLINE void add_to(int64_t* total, Record sum) { Avx2Lanes::add_to(total, sum); }

 private:
  static DEAL_INLINE void interleave(__m512i a, __m512i b, __m512i c, __m512i d,
                                     __m512i (&out)[4]) {
    const __m512i ab0 = _mm512_unpacklo_epi32(a, b), ab1 = _mm512_unpackhi_epi32(a, b);
    const __m512i cd0 = _mm512_unpacklo_epi32(c, d), cd1 = _mm512_unpackhi_epi32(c, d);
    out[0] = _mm512_unpacklo_epi64(ab0, cd0);
    out[1] = _mm512_unpackhi_epi64(ab0, cd0);
    out[2] = _mm512_unpacklo_epi64(ab1, cd1);
    out[3] = _mm512_unpackhi_epi64(ab1, cd1);
  }
  // Quarter k of a, b, c, d side by side at p + 32 k.
  static DEAL_INLINE void store_quarters(int32_t* p, __m512i a, __m512i b, __m512i c, __m512i d) {
    const __m512i ab0 = _mm512_shuffle_i32x4(a, b, 0x44), ab1 = _mm512_shuffle_i32x4(a, b, 0xee);
    const __m512i cd0 = _mm512_shuffle_i32x4(c, d, 0x44), cd1 = _mm512_shuffle_i32x4(c, d, 0xee);
    _mm512_storeu_si512(p, _mm512_shuffle_i32x4(ab0, cd0, 0x88));
    _mm512_storeu_si512(p + 32, _mm512_shuffle_i32x4(ab0, cd0, 0xdd));
    _mm512_storeu_si512(p + 64, _mm512_shuffle_i32x4(ab1, cd1, 0x88));
    _mm512_storeu_si512(p + 96, _mm512_shuffle_i32x4(ab1, cd1, 0xdd));
  }
};

}  // namespace
}  // namespace deal
