// Which attention is cheaper, and what the polynomial is: the same on every device.
#pragma once

#include <stdint.h>

#include "abi/deal.h"
#include "pixel/pixel_math.h"

namespace deal {

// Minimises the largest relative error of exp on 0...1 (1.62e-5) among polynomials of degree 4.
constexpr double kExp[5] = {1.00001614, 0.99906849, 0.50811991, 0.14304894, 0.06798449};

// Beyond it (45 classes) the tables of the polynomial outgrow the caches.
constexpr int64_t kMaxMonomials = 200000;

// Monomials of degree 0...degree in so many variables.
DEAL_INLINE int64_t monomials_in(int64_t variables, int32_t degree) {
  int64_t count = 1;
  for (int32_t k = 1; k <= degree; ++k) count = count * (variables + k) / k;
  return count;
}

// Index, among those of degree 0...4 in preorder, of the first that begins with variable a.
DEAL_INLINE int64_t first_term_of(int32_t a, int32_t variables) {
  return 1 + monomials_in(variables, 4) - monomials_in(variables - a, 4);
}

// Terms of the polynomial: the last class is none of its variables.
DEAL_INLINE int64_t monomials(int64_t classes) { return monomials_in(classes - 1, 4); }

// Floats that the moments of a chunk need a cell: each variable and that times u; a weight for
// each degree; as many factors as there are variables, or the constant, each also times u; the
// monomials of degree 1 and 2.
DEAL_INLINE int64_t moment_factors(int64_t classes) { return classes > 1 ? classes - 1 : 1; }
DEAL_INLINE int64_t moment_scratch(int64_t classes) {
  return 2 * (classes - 1) + 4 + 2 * moment_factors(classes) + monomials_in(classes - 1, 2) - 1;
}

// What a cell's v = sum_c p_c (weight_c + uncertainty_weight_c (1 - p_c)) can be: the first terms
// lie between the weights, and sum_c p_c (1 - p_c) is at most 1 - 1/C.
struct ValueRange {
  float low, spread;
  explicit ValueRange(const deal_head& head);
};

// True when the polynomial is asked for, or cheaper than all pairs of cells.
bool use_polynomial(const deal_head& head, int64_t cells);

// Coefficients of t^0...t^3 in the polynomial of x + t; that of t^4 is kExp[4].
template <class F>
DEAL_INLINE void expand_exp(F x, F (&out)[4]) {
  constexpr float c[5] = {static_cast<float>(kExp[0]), static_cast<float>(kExp[1]),
                          static_cast<float>(kExp[2]), static_cast<float>(kExp[3]),
                          static_cast<float>(kExp[4])};
  out[3] = fma_(F(4.0f * c[4]), x, F(c[3]));
  out[2] = fma_(fma_(F(6.0f * c[4]), x, F(3.0f * c[3])), x, F(c[2]));
  out[1] = fma_(fma_(fma_(F(4.0f * c[4]), x, F(3.0f * c[3])), x, F(2.0f * c[2])), x, F(c[1]));
  out[0] = fma_(fma_(fma_(fma_(F(c[4]), x, F(c[3])), x, F(c[2])), x, F(c[1])), x, F(c[0]));
}

}  // namespace deal
