// The probability attention module, written once over a lane type L.
//
// Direct: all pairs of cells. Polynomial: exp(t) on 0...1 is replaced by a polynomial of degree 4
// (relative error at most 1.62e-5, hence at most 0.81e-5 of max u - min u in the average); powers
// of p_j . p_i separate into monomials of p_j and of p_i, so the cost is linear in the cells.
//
// Monomials p_a, p_a p_b, p_a p_b p_c, p_a p_b p_c p_d with a <= b <= c <= d stand in preorder:
// constant; for a: (a; for b: (ab; for c: (abc; for d: abcd))).
#pragma once

#include "kernels.h"
#include "region_math.h"

namespace deal {
namespace {

template <class L>
void softmax_row(float* z, int64_t stride, int32_t classes, const float* weight,
                 const float* uncertainty_weight, float* value, int64_t n) {
  using F = typename L::F;
  for (int64_t x = 0; x < n; x += L::width) {
    F largest = L::load(z + x);
    for (int32_t c = 1; c < classes; ++c) largest = max_(largest, L::load(z + c * stride + x));
    F sum(0.0f);
    for (int32_t c = 0; c < classes; ++c) {
      const F e = exp_nonpositive(L::load(z + c * stride + x) - largest);
      L::store(z + c * stride + x, e);
      sum = sum + e;
    }
    const F inverse = F(1.0f) / sum;
    F v(0.0f);
    for (int32_t c = 0; c < classes; ++c) {
      const F p = probability(L::load(z + c * stride + x) * inverse);
      L::store(z + c * stride + x, p);
      v = add_class(v, p, weight[c], uncertainty_weight[c]);
    }
    L::store(value + x, v);
  }
}

// ---- direct -----------------------------------------------------------------------------------

template <class L>
void attention_direct(const float* p, int64_t stride, int32_t classes, const float* u,
                      int64_t cells, int64_t begin, int64_t end, float* average) {
  using F = typename L::F;
  constexpr int64_t kBlock = 64;  // partial sums keep the rounding error of long sums small
  for (int64_t j = begin; j < end; j += 2 * L::width) {
    F upper0(0.0f), upper1(0.0f), lower0(0.0f), lower1(0.0f);
    for (int64_t block = 0; block < cells; block += kBlock) {
      const int64_t stop = block + kBlock < cells ? block + kBlock : cells;
      F num0(0.0f), num1(0.0f), den0(0.0f), den1(0.0f);
      for (int64_t i = block; i < stop; ++i) {
        F dot0(0.0f), dot1(0.0f);
        for (int32_t c = 0; c < classes; ++c) {
          const F other(p[c * stride + i]);
          dot0 = fma_(L::load(p + c * stride + j), other, dot0);
          dot1 = fma_(L::load(p + c * stride + j + L::width), other, dot1);
        }
        const F value(u[i]);
        const F k0 = exp_unit(dot0), k1 = exp_unit(dot1);
        num0 = fma_(k0, value, num0);
        num1 = fma_(k1, value, num1);
        den0 = den0 + k0;
        den1 = den1 + k1;
      }
      upper0 = upper0 + num0;
      upper1 = upper1 + num1;
      lower0 = lower0 + den0;
      lower1 = lower1 + den1;
    }
    L::store(average + j, upper0 / lower0);
    L::store(average + j + L::width, upper1 / lower1);
  }
}

// ---- moments ----------------------------------------------------------------------------------

// Sixteen partial sums whatever the width of L, then halved four times: one order of additions.
template <class L>
struct Sum16 {
  static constexpr int kParts = 16 / L::width;
  typename L::F part[kParts];

  DEAL_INLINE Sum16() {
    for (int k = 0; k < kParts; ++k) part[k] = typename L::F(0.0f);
  }
  DEAL_INLINE float total() const { return L::sum16(part); }
};

// A monomial of every cell of a chunk, and the same times u.
struct Monomial {
  float *plain, *with_u;
};

// Writes totals one after the other.
template <class L, int kSums>
DEAL_INLINE void put_totals(const Sum16<L> (&sums)[kSums], float* out) {
  int k = 0;
  if constexpr (Sum16<L>::kParts == 1) {
    for (; k + 4 <= kSums; k += 8) {
      const typename L::F zero(0.0f);
      typename L::F eight[8];
      for (int i = 0; i < 8; ++i) eight[i] = k + i < kSums ? sums[k + i].part[0] : zero;
      L::store_sums(out + k, eight, kSums - k);
    }
  }
  for (; k < kSums; ++k) out[k] = sums[k].total();
}

// Sums of q * p, and of those times u, over n cells (a multiple of 16) for kTerms neighbouring
// planes p. With kNext, q is made first, as from * factor, and its own sums come before the others.
template <class L, int kTerms, bool kNext>
DEAL_INLINE void sum_terms(Monomial from, const float* factor, Monomial q, const float* p,
                           int64_t stride, int64_t n, float*& out) {
  using F = typename L::F;
  constexpr int kFirst = kNext ? 1 : 0;
  Sum16<L> sums[2 * (kTerms + kFirst)];
  for (int64_t i = 0; i < n; i += 16) {
    for (int k = 0; k < Sum16<L>::kParts; ++k) {
      const int64_t at = i + k * L::width;
      F a, au;
      if (kNext) {
        const F x = L::load(factor + at);
        a = L::load(from.plain + at) * x;
        au = L::load(from.with_u + at) * x;
        L::store(q.plain + at, a);
        L::store(q.with_u + at, au);
        sums[0].part[k] = sums[0].part[k] + a;
        sums[1].part[k] = sums[1].part[k] + au;
      } else {
        a = L::load(q.plain + at);
        au = L::load(q.with_u + at);
      }
      for (int t = 0; t < kTerms; ++t) {
        const F x = L::hold(L::load(p + t * stride + at));
        Sum16<L>* const both = sums + 2 * (t + kFirst);
        both[0].part[k] = fma_(a, x, both[0].part[k]);
        both[1].part[k] = fma_(au, x, both[1].part[k]);
      }
    }
  }
  put_totals(sums, out);
  out += 2 * (kTerms + kFirst);
}

// The same for as many planes as there are, at most kTerms; returns how many.
template <class L, int kTerms, bool kNext>
DEAL_INLINE int32_t sum_some(int32_t planes, Monomial from, const float* factor, Monomial q,
                             const float* p, int64_t stride, int64_t n, float*& out) {
  if constexpr (kTerms > 1) {
    if (planes < kTerms) {
      return sum_some<L, kTerms - 1, kNext>(planes, from, factor, q, p, stride, n, out);
    }
  }
  sum_terms<L, kTerms, kNext>(from, factor, q, p, stride, n, out);
  return kTerms;
}

// scratch holds kMomentScratch floats.
template <class L>
void moments(const float* p, int64_t stride, int32_t classes, const float* u, const float* one,
             int64_t begin, int64_t end, float* scratch, float* out) {
  // As many sums at once as the registers hold.
  constexpr int kTerms = Sum16<L>::kParts == 1 ? 8 : 2;
  const int64_t n = end - begin;
  Monomial q[4];  // of degree 0...3
  for (int k = 0; k < 4; ++k) q[k] = {scratch + 2 * k * n, scratch + (2 * k + 1) * n};
  const auto plane = [&](int32_t c) { return p + c * stride + begin; };
  const auto next = [&](int degree, const float* factor) {
    sum_terms<L, 0, true>(q[degree - 1], factor, q[degree], nullptr, 0, n, out);
  };
  memcpy(q[0].plain, one + begin, static_cast<size_t>(n) * sizeof(float));
  memcpy(q[0].with_u, u + begin, static_cast<size_t>(n) * sizeof(float));
  sum_terms<L, 0, true>(q[0], one + begin, q[0], nullptr, 0, n, out);
  for (int32_t a = 0; a < classes; ++a) {
    next(1, plane(a));
    for (int32_t b = a; b < classes; ++b) {
      next(2, plane(b));
      for (int32_t c = b; c < classes; ++c) {
        const float* factor = plane(c);
        int32_t d = c;
        d += sum_some<L, kTerms, true>(classes - d, q[2], factor, q[3], factor, stride, n, out);
        while (d < classes) {
          d +=
              sum_some<L, kTerms, false>(classes - d, q[2], factor, q[3], plane(d), stride, n, out);
        }
      }
    }
  }
}

// ---- evaluation -------------------------------------------------------------------------------

// coefficients [terms, 2]: of the sum of weights and of the sum of weighted u.
template <class L>
void polynomial(const float* p, int64_t stride, int32_t classes, const float* coefficients,
                int64_t begin, int64_t end, float* average) {
  using F = typename L::F;
  constexpr int V = 4;  // blocks that share each coefficient
  struct Pair {
    F den[V], num[V];
    DEAL_INLINE explicit Pair(const float* g) {
      for (int v = 0; v < V; ++v) {
        den[v] = F(g[0]);
        num[v] = F(g[1]);
      }
    }
    DEAL_INLINE void add(const float* plane, const Pair& inner) {
      for (int v = 0; v < V; ++v) {
        const F x = L::hold(L::load(plane + v * L::width));
        den[v] = fma_(x, inner.den[v], den[v]);
        num[v] = fma_(x, inner.num[v], num[v]);
      }
    }
    DEAL_INLINE void add(const float* plane, const float* g) {
      const F g0(g[0]), g1(g[1]);
      for (int v = 0; v < V; ++v) {
        const F x = L::hold(L::load(plane + v * L::width));
        den[v] = fma_(x, g0, den[v]);
        num[v] = fma_(x, g1, num[v]);
      }
    }
  };
  for (int64_t j = begin; j < end; j += V * L::width) {
    const float* cell = p + j;
    const float* g = coefficients;
    Pair whole(g);
    g += 2;
    for (int32_t a = 0; a < classes; ++a) {
      Pair in_a(g);
      g += 2;
      for (int32_t b = a; b < classes; ++b) {
        Pair in_b(g);
        g += 2;
        for (int32_t c = b; c < classes; ++c) {
          Pair in_c(g);
          g += 2;
          for (int32_t d = c; d < classes; ++d, g += 2) in_c.add(cell + d * stride, g);
          in_b.add(cell + c * stride, in_c);
        }
        in_a.add(cell + b * stride, in_b);
      }
      whole.add(cell + a * stride, in_a);
    }
    for (int v = 0; v < V; ++v) L::store(average + j + v * L::width, whole.num[v] / whole.den[v]);
  }
}

}  // namespace
}  // namespace deal
