// Sixteen pixels at a time with AVX-512 F, BW, DQ and VL. Include only where these are the target.
#pragma once

#include <immintrin.h>

#include "cpu/lanes_avx2.h"
#include "pixel/pixel_math.h"

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
  static constexpr int kRows = 4;  // scored together, as registers allow

  static DEAL_INLINE F load(const float* p) { return _mm512_loadu_ps(p); }
  static DEAL_INLINE void store(float* p, F v) { _mm512_storeu_ps(p, v.v); }
  static DEAL_INLINE I load_int(const int32_t* p) { return _mm512_loadu_si512(p); }
  static DEAL_INLINE void store_int(int32_t* p, I v) { _mm512_storeu_si512(p, v.v); }

  static DEAL_INLINE float sum16(const F (&part)[1]) {
    return Avx2Lanes::sum8(
        _mm256_add_ps(_mm512_castps512_ps256(part[0].v), _mm512_extractf32x8_ps(part[0].v, 1)));
  }

  // The sum16 of eight, in the same order of additions; the first `count` are stored.
  static DEAL_INLINE void store_sums(float* out, const F (&a)[8], int count) {
    const __m512 eighths[4] = {halves(a[0], a[1]), halves(a[2], a[3]), halves(a[4], a[5]),
                               halves(a[6], a[7])};
    const __m512 even = quarters(eighths[0], eighths[1]), odd = quarters(eighths[2], eighths[3]);
    const __m512 twos =
        _mm512_add_ps(_mm512_shuffle_ps(even, odd, 0x44), _mm512_shuffle_ps(even, odd, 0xee));
    const __m512 ones =
        _mm512_add_ps(_mm512_shuffle_ps(twos, twos, 0x88), _mm512_shuffle_ps(twos, twos, 0xdd));
    const __m512i place = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m512 sums = _mm512_permutexvar_ps(place, ones);
    _mm512_mask_storeu_ps(out, static_cast<__mmask16>(count < 8 ? (1 << count) - 1 : 0xff), sums);
  }

  // Keeps a value that two instructions take in a register: else each loads it again.
  static DEAL_INLINE F hold(F a) {
    asm("" : "+v"(a.v));
    return a;
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

  static DEAL_INLINE I load_bytes(const uint8_t* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static DEAL_INLINE void store_bytes(uint8_t* p, I v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v.v));
  }

  static constexpr uint32_t kAll = 0xffff;
  static DEAL_INLINE uint32_t equal(I a, I b) { return _mm512_cmpeq_epi32_mask(a.v, b.v); }
  static DEAL_INLINE I keep(I v, uint32_t bits) {
    return _mm512_maskz_mov_epi32(static_cast<__mmask16>(bits), v.v);
  }
  static DEAL_INLINE int64_t count(uint32_t bits) { return __builtin_popcount(bits); }

  using Wide = __m512i;
  static DEAL_INLINE void clear(Wide& sum) { sum = _mm512_setzero_si512(); }
  static DEAL_INLINE void add_fields(Wide& sum, const I (&v)[8]) {
    const __m512i low = quads(v[0].v, v[1].v, v[2].v, v[3].v);
    const __m512i high = quads(v[4].v, v[5].v, v[6].v, v[7].v);
    const __m512i both = _mm512_add_epi32(_mm512_shuffle_i32x4(low, high, 0x88),
                                          _mm512_shuffle_i32x4(low, high, 0xdd));
    const __m512i one = _mm512_add_epi32(_mm512_shuffle_i32x4(both, both, 0x88),
                                         _mm512_shuffle_i32x4(both, both, 0xdd));
    sum = _mm512_add_epi64(sum, _mm512_cvtepi32_epi64(_mm512_castsi512_si256(one)));
  }
  static DEAL_INLINE void add_to(int64_t* total, Wide sum) {
    _mm512_storeu_si512(total, _mm512_add_epi64(_mm512_loadu_si512(total), sum));
  }

  static DEAL_INLINE void store_records(int32_t* out, const I (&v)[8]) {
    __m512i low[4], high[4];  // [j]: half records of pixels j, j + 4, j + 8 and j + 12
    transpose(v[0].v, v[1].v, v[2].v, v[3].v, low);
    transpose(v[4].v, v[5].v, v[6].v, v[7].v, high);
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    for (int j = 0; j < 4; ++j) {
      store_two(out + 8 * j, _mm512_permutex2var_epi64(low[j], first, high[j]));
      store_two(out + 8 * j + 64, _mm512_permutex2var_epi64(low[j], second, high[j]));
    }
  }
  static DEAL_INLINE void add_record(int64_t* total, const int32_t* record) {
    add_to(total,
           _mm512_cvtepi32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(record))));
  }

 private:
  static DEAL_INLINE __m512 halves(F a, F b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a.v, b.v, 0x44),
                         _mm512_shuffle_f32x4(a.v, b.v, 0xee));
  }
  static DEAL_INLINE __m512 quarters(__m512 ab, __m512 cd) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  }
  static DEAL_INLINE void transpose(__m512i a, __m512i b, __m512i c, __m512i d, __m512i (&out)[4]) {
    const __m512i low_ab = _mm512_unpacklo_epi32(a, b), low_cd = _mm512_unpacklo_epi32(c, d);
    const __m512i high_ab = _mm512_unpackhi_epi32(a, b), high_cd = _mm512_unpackhi_epi32(c, d);
    out[0] = _mm512_unpacklo_epi64(low_ab, low_cd);
    out[1] = _mm512_unpackhi_epi64(low_ab, low_cd);
    out[2] = _mm512_unpacklo_epi64(high_ab, high_cd);
    out[3] = _mm512_unpackhi_epi64(high_ab, high_cd);
  }
  // Records of a pixel and of the fourth after it.
  static DEAL_INLINE void store_two(int32_t* out, __m512i records) {
    __m256i* const to = reinterpret_cast<__m256i*>(out);
    _mm256_storeu_si256(to, _mm512_castsi512_si256(records));
    _mm256_storeu_si256(to + 4, _mm512_extracti64x4_epi64(records, 1));
  }
  static DEAL_INLINE __m512i quads(__m512i a, __m512i b, __m512i c, __m512i d) {
    const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  }
};

}  // namespace
}  // namespace deal
