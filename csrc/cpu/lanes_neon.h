// Four pixels at a time with NEON of AArch64.
#pragma once

#include <arm_neon.h>

#include "pixel/pixel_math.h"

namespace deal {
namespace {

struct Int4 {
  int32x4_t v;
  Int4() = default;
  DEAL_INLINE Int4(int32x4_t x) : v(x) {}
  DEAL_INLINE explicit Int4(int32_t x) : v(vdupq_n_s32(x)) {}
};

struct Float4 {
  float32x4_t v;
  Float4() = default;
  DEAL_INLINE Float4(float32x4_t x) : v(x) {}
  DEAL_INLINE explicit Float4(float x) : v(vdupq_n_f32(x)) {}
};

struct Mask4 {
  uint32x4_t v;
};

DEAL_INLINE Float4 operator+(Float4 a, Float4 b) { return vaddq_f32(a.v, b.v); }
DEAL_INLINE Float4 operator-(Float4 a, Float4 b) { return vsubq_f32(a.v, b.v); }
DEAL_INLINE Float4 operator*(Float4 a, Float4 b) { return vmulq_f32(a.v, b.v); }
DEAL_INLINE Float4 operator/(Float4 a, Float4 b) { return vdivq_f32(a.v, b.v); }
DEAL_INLINE Float4 fma_(Float4 a, Float4 b, Float4 c) { return vfmaq_f32(c.v, a.v, b.v); }
DEAL_INLINE Mask4 less(Float4 a, Float4 b) { return {vcltq_f32(a.v, b.v)}; }
DEAL_INLINE Float4 select(Mask4 m, Float4 a, Float4 b) { return vbslq_f32(m.v, a.v, b.v); }
DEAL_INLINE Int4 select(Mask4 m, Int4 a, Int4 b) { return vbslq_s32(m.v, a.v, b.v); }
// Of zeros of either sign FMIN and FMAX may take the other one: no result depends on that sign.
DEAL_INLINE Float4 min_(Float4 a, Float4 b) { return vminq_f32(a.v, b.v); }
DEAL_INLINE Float4 max_(Float4 a, Float4 b) { return vmaxq_f32(a.v, b.v); }
DEAL_INLINE Int4 as_int(Float4 a) { return vreinterpretq_s32_f32(a.v); }
DEAL_INLINE Float4 as_float(Int4 a) { return vreinterpretq_f32_s32(a.v); }
DEAL_INLINE Int4 shift_left_23(Int4 a) { return vshlq_n_s32(a.v, 23); }
DEAL_INLINE Int4 shift_right_23(Int4 a) {
  return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a.v), 23));
}
DEAL_INLINE Int4 add_wrapping(Int4 a, Int4 b) { return vaddq_s32(a.v, b.v); }
DEAL_INLINE Int4 bit_and(Int4 a, Int4 b) { return vandq_s32(a.v, b.v); }
DEAL_INLINE Int4 bit_or(Int4 a, Int4 b) { return vorrq_s32(a.v, b.v); }
DEAL_INLINE Int4 min_(Int4 a, Int4 b) { return vminq_s32(a.v, b.v); }
DEAL_INLINE Int4 count_equal(Int4 count, Int4 a, Int4 b) {
  return vsubq_s32(count.v, vreinterpretq_s32_u32(vceqq_s32(a.v, b.v)));
}
DEAL_INLINE Int4 truncate(Float4 a) { return vcvtq_s32_f32(a.v); }
DEAL_INLINE Float4 to_float(Int4 a) { return vcvtq_f32_s32(a.v); }
DEAL_INLINE Int4 round_to_int(Float4 a) { return vcvtnq_s32_f32(a.v); }

struct NeonLanes {
  using F = Float4;
  using I = Int4;
  static constexpr int width = 4;
  static constexpr int kRows = 4;  // scored together, as registers allow

  static DEAL_INLINE F load(const float* p) { return vld1q_f32(p); }
  static DEAL_INLINE void store(float* p, F v) { vst1q_f32(p, v.v); }
  static DEAL_INLINE F hold(F a) { return a; }
  static DEAL_INLINE I load_int(const int32_t* p) { return vld1q_s32(p); }
  static DEAL_INLINE void store_int(int32_t* p, I v) { vst1q_s32(p, v.v); }

  static DEAL_INLINE float sum16(const F (&part)[4]) {
    const float32x4_t four =
        vaddq_f32(vaddq_f32(part[0].v, part[2].v), vaddq_f32(part[1].v, part[3].v));
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
  }

  // Where the samples of four pixels lie within four neighbours, one load and a table look-up
  // replace four loads.
  static DEAL_INLINE bool window(const int32_t* first, const int32_t* second) {
    return second[3] - first[0] < 4;
  }
  static DEAL_INLINE I offsets(const int32_t* index, int32_t base) {
    return vsubq_s32(load_int(index).v, vdupq_n_s32(base));
  }
  static DEAL_INLINE F pick(const float* row, I offset) {
    const int32x4_t bytes = vmlaq_s32(vdupq_n_s32(0x03020100), offset.v, vdupq_n_s32(0x04040404));
    return vreinterpretq_f32_u8(
        vqtbl1q_u8(vreinterpretq_u8_f32(vld1q_f32(row)), vreinterpretq_u8_s32(bytes)));
  }
  static DEAL_INLINE F gather(const float* row, I index) {
    float32x4_t v = vld1q_dup_f32(row + vgetq_lane_s32(index.v, 0));
    v = vld1q_lane_f32(row + vgetq_lane_s32(index.v, 1), v, 1);
    v = vld1q_lane_f32(row + vgetq_lane_s32(index.v, 2), v, 2);
    return vld1q_lane_f32(row + vgetq_lane_s32(index.v, 3), v, 3);
  }

  static DEAL_INLINE I load_bytes(const uint8_t* p) {
    uint32_t four;
    memcpy(&four, p, sizeof four);
    const uint16x8_t words = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(words)));
  }
  static DEAL_INLINE void store_bytes(uint8_t* p, I v) {
    const uint16x4_t words = vmovn_u32(vreinterpretq_u32_s32(v.v));
    const uint8x8_t bytes = vmovn_u16(vcombine_u16(words, words));
    const uint32_t four = vget_lane_u32(vreinterpret_u32_u8(bytes), 0);
    memcpy(p, &four, sizeof four);
  }

  static constexpr uint32_t kAll = 0xf;
  static DEAL_INLINE uint32x4_t bits_of_lanes() {
    const uint32_t bits[4] = {1, 2, 4, 8};
    return vld1q_u32(bits);
  }
  static DEAL_INLINE uint32_t equal(I a, I b) {
    return vaddvq_u32(vandq_u32(vceqq_s32(a.v, b.v), bits_of_lanes()));
  }
  static DEAL_INLINE I keep(I v, uint32_t bits) {
    const uint32x4_t set = vtstq_u32(vdupq_n_u32(bits), bits_of_lanes());
    return vandq_s32(v.v, vreinterpretq_s32_u32(set));
  }
  static DEAL_INLINE int64_t count(uint32_t bits) { return __builtin_popcount(bits); }

  // Sums of the eight integers of a pixel.
  struct Wide {
    int64x2_t pair[4];
  };
  static DEAL_INLINE void clear(Wide& sum) {
    for (auto& pair : sum.pair) pair = vdupq_n_s64(0);
  }
  static DEAL_INLINE void add_fields(Wide& sum, const I (&v)[8]) {
    for (int k = 0; k < 2; ++k) {
      const int32x4_t four = vpaddq_s32(vpaddq_s32(v[4 * k].v, v[4 * k + 1].v),
                                        vpaddq_s32(v[4 * k + 2].v, v[4 * k + 3].v));
      sum.pair[2 * k] = vaddw_s32(sum.pair[2 * k], vget_low_s32(four));
      sum.pair[2 * k + 1] = vaddw_high_s32(sum.pair[2 * k + 1], four);
    }
  }
  static DEAL_INLINE void add_to(int64_t* total, const Wide& sum) {
    for (int k = 0; k < 4; ++k) {
      vst1q_s64(total + 2 * k, vaddq_s64(vld1q_s64(total + 2 * k), sum.pair[k]));
    }
  }

  static DEAL_INLINE void store_records(int32_t* out, const I (&v)[8]) {
    for (int half = 0; half < 2; ++half) {
      const I* const f = v + 4 * half;
      const int32x4x2_t ab = vtrnq_s32(f[0].v, f[1].v), cd = vtrnq_s32(f[2].v, f[3].v);
      for (int k = 0; k < 2; ++k) {  // pixels k and k + 2
        const int64x2_t low = vreinterpretq_s64_s32(ab.val[k]);
        const int64x2_t high = vreinterpretq_s64_s32(cd.val[k]);
        int32_t* const to = out + 8 * k + 4 * half;
        vst1q_s32(to, vreinterpretq_s32_s64(vtrn1q_s64(low, high)));
        vst1q_s32(to + 16, vreinterpretq_s32_s64(vtrn2q_s64(low, high)));
      }
    }
  }
  static DEAL_INLINE void add_record(int64_t* total, const int32_t* record) {
    for (int k = 0; k < 4; ++k) {
      vst1q_s64(total + 2 * k, vaddw_s32(vld1q_s64(total + 2 * k), vld1_s32(record + 2 * k)));
    }
  }
};

}  // namespace
}  // namespace deal
