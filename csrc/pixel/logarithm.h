// The natural logarithm of doubles, in operations that IEEE 754 rounds alike everywhere: the
// logarithms of C libraries and of NumPy differ in the last bit between processors.
#pragma once

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

namespace deal {

// Of a positive normal number, times 2^shift, within one unit in the last place. Without branches,
// so that compilers vectorise loops over it.
//
// x = 2^k m with 1/sqrt(2) < m <= sqrt(2), f = m - 1, s = f / (2 + f):
// ln(1 + f) = 2 atanh(s) = f - s (f - r), where r = 2 (s^2/3 + s^4/5 + ...), here up to s^22.
inline double log_of_normal(double x, double shift) {
  constexpr uint64_t kHalfRoot = 0x3fe6a09e667f3bcd;             // the bits of 1/sqrt(2)
  constexpr uint64_t kBias = 1024, kMagic = 0x4330000000000000;  // the bits of 2^52
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint64_t power = (bits - kHalfRoot + (kBias << 52)) >> 52;  // k + 1024
  const uint64_t mantissa = bits - (power << 52) + (kBias << 52);
  const uint64_t counted = power | kMagic;  // as a double 2^52 + k + 1024
  double m, k;
  memcpy(&m, &mantissa, sizeof m);
  memcpy(&k, &counted, sizeof k);
  k = k - (0x1p52 + static_cast<double>(kBias)) + shift;
  const double f = m - 1.0;
  const double s = f / (2.0 + f);
  const double z = s * s, z2 = z * z, z4 = z2 * z2, z8 = z4 * z4;
  const double a = (2.0 / 3 + z * (2.0 / 5)) + z2 * (2.0 / 7 + z * (2.0 / 9));
  const double b = (2.0 / 11 + z * (2.0 / 13)) + z2 * (2.0 / 15 + z * (2.0 / 17));
  const double c = (2.0 / 19 + z * (2.0 / 21)) + z2 * (2.0 / 23);
  const double r = z * ((a + z4 * b) + z8 * c);
  // ln 2 in two parts: k times the first is exact.
  constexpr double kLn2High = 0x1.62e42fee00000p-1;
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  return k * kLn2High - ((s * (f - r) - k * kLn2Low) - f);
}

// -inf for 0, NaN below 0 and for NaN.
inline double natural_log(double x) {
  if (x >= DBL_MIN && x <= DBL_MAX) return log_of_normal(x, 0.0);
  if (!(x > 0.0)) return x == 0.0 ? -HUGE_VAL : static_cast<double>(NAN);
  return x > DBL_MAX ? x : log_of_normal(x * 0x1p54, -54.0);
}

inline void natural_logs(const double* from, int64_t n, double* to) {
  constexpr int64_t kBlock = 512;
  for (int64_t start = 0; start < n; start += kBlock) {
    const int64_t end = n - start < kBlock ? n : start + kBlock;
    bool normal = true;
    for (int64_t i = start; i < end; ++i) normal &= from[i] >= DBL_MIN && from[i] <= DBL_MAX;
    if (normal) {
      for (int64_t i = start; i < end; ++i) to[i] = log_of_normal(from[i], 0.0);
    } else {
      for (int64_t i = start; i < end; ++i) to[i] = natural_log(from[i]);
    }
  }
}

}  // namespace deal
