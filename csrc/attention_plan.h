// Which attention is cheaper, and what the polynomial is: the same on every device.
#pragma once

#include <stdint.h>

#include "deal.h"

namespace deal {

// Minimises the largest relative error of exp on 0...1 (1.62e-5) among polynomials of degree 4.
constexpr double kExp[5] = {1.00001614, 0.99906849, 0.50811991, 0.14304894, 0.06798449};

// Beyond it (44 classes) the tables of the polynomial outgrow the caches.
constexpr int64_t kMaxMonomials = 200000;

// Monomials of degree 0...4 in this many classes.
int64_t monomials(int64_t classes);

// What a cell's v = sum_c p_c (weight_c + uncertainty_weight_c (1 - p_c)) can be: the first terms
// lie between the weights, and sum_c p_c (1 - p_c) is at most 1 - 1/C.
struct ValueRange {
  float low, spread;
  explicit ValueRange(const deal_head& head);
};

// True when the polynomial is asked for, or cheaper than all pairs of cells.
bool use_polynomial(const deal_head& head, int64_t cells);

}  // namespace deal
