// The arithmetic of a pixel, once, for every instruction set and for CUDA.
//
// Written over a number type F (float, or a vector of floats) and its integer companion I. A lane
// type brings fma, select, min_, max_, truncate, round_to_int, shift_left, as_int, as_float. The
// same operations in the same order give the same bits everywhere: fma is explicit, contraction is
// off. Everything has internal linkage: code compiled for one instruction set must never be picked
// by the linker for another.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__CUDACC__)
#define DEAL_INLINE __host__ __device__ __forceinline__
#else
#define DEAL_INLINE inline __attribute__((always_inline))
#endif

namespace deal {
namespace {

constexpr int kLevels = 240;
constexpr float kFixedOne = 16777216.0f;   // 2^24: statistics are summed as integers of this scale
constexpr float kLowestExponent = -87.0f;  // exp of it is still a normal float
constexpr float kLowestProbabilityExponent = -80.0f;  // divided by 256 classes, too

// ---- float as a lane type of width one --------------------------------------------------------

DEAL_INLINE float fma_(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(a, b, c);
#else
  return __builtin_fmaf(a, b, c);
#endif
}
// One instruction on a GPU. Of two zeros it may take the other one, on which no result depends; NaN
// comes nowhere near.
#if defined(__CUDA_ARCH__)
DEAL_INLINE float min_(float a, float b) { return fminf(a, b); }
DEAL_INLINE float max_(float a, float b) { return fmaxf(a, b); }
#else
DEAL_INLINE float min_(float a, float b) { return a < b ? a : b; }
DEAL_INLINE float max_(float a, float b) { return a > b ? a : b; }
#endif
DEAL_INLINE bool less(float a, float b) { return a < b; }
DEAL_INLINE float select(bool m, float a, float b) { return m ? a : b; }
DEAL_INLINE int32_t select(bool m, int32_t a, int32_t b) { return m ? a : b; }
DEAL_INLINE int32_t as_int(float a) {
  int32_t bits;
  memcpy(&bits, &a, sizeof bits);
  return bits;
}
DEAL_INLINE float as_float(int32_t bits) {
  float a;
  memcpy(&a, &bits, sizeof a);
  return a;
}
DEAL_INLINE int32_t shift_left_23(int32_t a) {
  return static_cast<int32_t>(static_cast<uint32_t>(a) << 23);
}
DEAL_INLINE int32_t shift_right_23(int32_t a) {
  return static_cast<int32_t>(static_cast<uint32_t>(a) >> 23);
}
DEAL_INLINE int32_t add_wrapping(int32_t a, int32_t b) {
  return static_cast<int32_t>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b));
}
DEAL_INLINE int32_t bit_and(int32_t a, int32_t b) { return a & b; }
DEAL_INLINE int32_t bit_or(int32_t a, int32_t b) { return a | b; }
DEAL_INLINE int32_t truncate(float a) { return static_cast<int32_t>(a); }
DEAL_INLINE int32_t min_(int32_t a, int32_t b) { return a < b ? a : b; }
DEAL_INLINE int32_t count_equal(int32_t count, int32_t a, int32_t b) { return count + (a == b); }
DEAL_INLINE float to_float(int32_t a) { return static_cast<float>(a); }
DEAL_INLINE int32_t round_to_int(float a) {
#if defined(__CUDA_ARCH__)
  return __float2int_rn(a);
#else
  return static_cast<int32_t>(__builtin_lrintf(a));  // to nearest, ties to even
#endif
}

// ---- values of the other dtypes ----------------------------------------------------------------

DEAL_INLINE float half_to_float(uint16_t h) {
#if defined(__CUDA_ARCH__)
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(h));
  return value;
#else
  // Shifting the exponent into place and multiplying by 2^112 also normalises subnormals.
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t body = static_cast<uint32_t>(h & 0x7fffu) << 13;
  const uint32_t special = (h & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0u;
  const float scaled = as_float(static_cast<int32_t>(body)) * 5.192296858534828e33f;
  return as_float(static_cast<int32_t>(static_cast<uint32_t>(as_int(scaled)) | special | sign));
#endif
}

// Differences of any two values stay finite, even of the lowest float that masks a class.
DEAL_INLINE float bounded(float value) { return min_(max_(value, -1e37f), 1e37f); }

DEAL_INLINE float bfloat_to_float(uint16_t b) {
  return as_float(static_cast<int32_t>(static_cast<uint32_t>(b) << 16));
}

// ---- functions of one number ------------------------------------------------------------------

// exp(x) for -87 <= x <= 0, within 1.2e-7 absolute; exp(0) is 1 exactly.
template <class F>
DEAL_INLINE F exp_in_range(F x) {
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the mantissa.
  const F shifted = fma_(x, F(1.44269504088896341f), F(12582912.0f));
  // 2^f for -1/2 <= f <= 1/2: of the polynomials with p(0) = 1 the one of least absolute error of
  // the result, 6.3e-8.
  const F f = fma_(x, F(1.44269504088896341f), F(12582912.0f) - shifted);
  F p = F(1.3225657e-3f);
  p = fma_(p, f, F(9.6717607e-3f));
  p = fma_(p, f, F(5.5508910e-2f));
  p = fma_(p, f, F(2.4022237e-1f));
  p = fma_(p, f, F(6.9314683e-1f));
  p = fma_(p, f, F(1.0f));
  return as_float(add_wrapping(as_int(p), shift_left_23(as_int(shifted))));
}

// The same for any x <= 0: below -87 it stays at exp(-87).
template <class F>
DEAL_INLINE F exp_nonpositive(F x) {
  return exp_in_range(max_(x, F(kLowestExponent)));
}

// exp(t) for 0 <= t <= 1, within 1.2e-7 relative: the kernel of direct attention.
template <class F>
DEAL_INLINE F exp_unit(F t) {
  F p = F(2.2720588e-3f);
  p = fma_(p, t, F(7.0646661e-3f));
  p = fma_(p, t, F(4.2525869e-2f));
  p = fma_(p, t, F(1.6637598e-1f));
  p = fma_(p, t, F(5.0004578e-1f));
  p = fma_(p, t, F(9.9999736e-1f));
  return fma_(p, t, F(1.0f));
}

// log(s) of a positive normal number, for 1 <= s <= 256 within 3e-7 absolute; log(1) is 0 exactly.
template <class F>
DEAL_INLINE F log_positive(F s) {
  const auto bits = as_int(s);
  using I = decltype(as_int(s));
  F exponent = to_float(add_wrapping(shift_right_23(bits), I(-127)));
  F m = as_float(bit_or(bit_and(bits, I(0x007fffff)), I(0x3f800000)));  // 1 <= m < 2
  const auto large = less(F(1.41421356f), m);
  m = select(large, m * F(0.5f), m);
  exponent = select(large, exponent + F(1.0f), exponent);
  const F f = m - F(1.0f);
  const F z = f * f;
  F p = F(7.0376836292e-2f);
  p = fma_(p, f, F(-1.1514610310e-1f));
  p = fma_(p, f, F(1.1676998740e-1f));
  p = fma_(p, f, F(-1.2420140846e-1f));
  p = fma_(p, f, F(1.4249322787e-1f));
  p = fma_(p, f, F(-1.6668057665e-1f));
  p = fma_(p, f, F(2.0000714765e-1f));
  p = fma_(p, f, F(-2.4999993993e-1f));
  p = fma_(p, f, F(3.3333331174e-1f));
  const F tail = fma_(p, z * f, fma_(exponent, F(-2.12194440e-4f), z * F(-0.5f)));
  return fma_(exponent, F(0.693359375f), f + tail);
}

template <class F>
DEAL_INLINE F sigmoid(F a) {
  const auto negative = less(a, F(0.0f));
  const F e = exp_nonpositive(select(negative, a, F(0.0f) - a));
  return select(negative, e, F(1.0f)) / (F(1.0f) + e);
}

// A probability on the attention grid; one below 2^-30 counts as 0. So the product of any four is
// a normal number (subnormal ones take many times as long), and no average moves by C * 2^-30.
template <class F>
DEAL_INLINE F probability(F p) {
  return select(less(p, F(9.313225746154785e-10f)), F(0.0f), p);
}

// v and what a class of probability p adds to it: p (weight + uncertainty_weight (1 - p)).
template <class F>
DEAL_INLINE F add_class(F v, F p, float weight, float uncertainty_weight) {
  return fma_(p, fma_(F(uncertainty_weight), F(1.0f) - p, F(weight)), v);
}

// Between two samples; exact where they are equal, so that constant maps stay constant.
template <class F>
DEAL_INLINE F lerp(F a, F b, F weight) {
  return fma_(weight, b - a, a);
}

// Level among 240 on 0...1; values are not negative.
template <class F>
DEAL_INLINE auto level_of(F unit) -> decltype(as_int(unit)) {
  using I = decltype(as_int(unit));
  return min_(truncate(unit * F(static_cast<float>(kLevels))), I(kLevels - 1));
}

// For levels on low...high; 0, so that all are level 0, where there is no range to speak of.
DEAL_INLINE float inverse_range(float low, float high) {
  return high - low >= 1.17549435e-38f ? 1.0f / (high - low) : 0.0f;
}

template <class F>
DEAL_INLINE auto to_fixed(F value) -> decltype(as_int(value)) {
  return round_to_int(value * F(kFixedOne));
}

// ---- a pixel ----------------------------------------------------------------------------------

// Running maximum, runner-up and label over the classes.
template <class F, class I>
struct TopTwo {
  F first, second;
  I label;

  TopTwo() = default;
  DEAL_INLINE explicit TopTwo(F class_0) : first(class_0), second(-INFINITY), label(0) {}
  DEAL_INLINE void add(F z, I c) {
    const auto better = less(first, z);  // strictly: of equal classes the lowest wins
    second = max_(second, min_(first, z));
    label = select(better, c, label);
    first = max_(first, z);
  }
};

template <class F>
struct Uncertainty {
  F entropy;  // nats
  F margin;
  F least_confidence;
};

// From S = sum exp(z - max) and T = sum exp(z - max) (z - max), and the gap of the runner-up.
template <class F>
DEAL_INLINE Uncertainty<F> uncertainty_of(F sum, F weighted, F second_minus_first) {
  const F inverse = F(1.0f) / sum;
  const F runner_up = exp_nonpositive(second_minus_first);
  const F rest = sum - F(1.0f);
  return {log_positive(sum) - weighted * inverse, (rest + runner_up) * inverse, rest * inverse};
}

}  // namespace
}  // namespace deal
