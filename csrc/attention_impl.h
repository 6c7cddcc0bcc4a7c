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
void softmax_row(float* z, int64_t stride, int32_t classes, const float* weight, float* value,
                 int64_t n) {
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
      v = fma_(p, F(weight[c]), v);
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

// Sums of q * p and of qu * p over n cells (a multiple of 16), for kTerms neighbouring planes p.
template <class L, int kTerms>
DEAL_INLINE void dot_planes(const float* q, const float* qu, const float* p, int64_t stride,
                            int64_t n, float* plain, float* with_u) {
  using F = typename L::F;
  Sum16<L> sums[kTerms], sums_u[kTerms];
  for (int64_t i = 0; i < n; i += 16) {
    for (int k = 0; k < Sum16<L>::kParts; ++k) {
      const int64_t at = i + k * L::width;
      const F a = L::load(q + at), au = L::load(qu + at);
      for (int t = 0; t < kTerms; ++t) {
        const F b = L::load(p + t * stride + at);
        sums[t].part[k] = fma_(a, b, sums[t].part[k]);
        sums_u[t].part[k] = fma_(au, b, sums_u[t].part[k]);
      }
    }
  }
  for (int t = 0; t < kTerms; ++t) {
    plain[t] = sums[t].total();
    with_u[t] = sums_u[t].total();
  }
}

template <class L>
DEAL_INLINE void multiply(const float* a, const float* b, float* out, int64_t n) {
  for (int64_t i = 0; i < n; i += L::width) L::store(out + i, L::load(a + i) * L::load(b + i));
}

// scratch holds 5 * kChunkCells floats.
template <class L>
void moments(const float* p, int64_t stride, int32_t classes, const float* u, const float* one,
             int64_t begin, int64_t end, float* scratch, float* out) {
  const int64_t n = end - begin;
  float *pu = scratch, *q2 = pu + n, *q2u = q2 + n, *q3 = q2u + n, *q3u = q3 + n;
  const float* cell = p + begin;
  const float* value = u + begin;
  int64_t terms = 1;
  for (int k = 1; k <= 4; ++k) terms = terms * (classes + k) / k;
  float *plain = out, *with_u = out + terms;
  dot_planes<L, 1>(one + begin, value, one + begin, 0, n, plain++, with_u++);
  for (int32_t a = 0; a < classes; ++a) {
    const float* pa = cell + a * stride;
    multiply<L>(pa, value, pu, n);
    dot_planes<L, 1>(pa, pu, one + begin, 0, n, plain++, with_u++);
    for (int32_t b = a; b < classes; ++b) {
      const float* pb = cell + b * stride;
      multiply<L>(pa, pb, q2, n);
      multiply<L>(pu, pb, q2u, n);
      dot_planes<L, 1>(q2, q2u, one + begin, 0, n, plain++, with_u++);
      for (int32_t c = b; c < classes; ++c) {
        const float* pc = cell + c * stride;
        multiply<L>(q2, pc, q3, n);
        multiply<L>(q2u, pc, q3u, n);
        dot_planes<L, 1>(q3, q3u, one + begin, 0, n, plain++, with_u++);
        int32_t d = c;
        if (Sum16<L>::kParts == 1) {  // more sums at once, to keep the multipliers busy
          for (; d + 3 < classes; d += 4, plain += 4, with_u += 4) {
            dot_planes<L, 4>(q3, q3u, cell + d * stride, stride, n, plain, with_u);
          }
        }
        for (; d + 1 < classes; d += 2, plain += 2, with_u += 2) {
          dot_planes<L, 2>(q3, q3u, cell + d * stride, stride, n, plain, with_u);
        }
        if (d < classes) {
          dot_planes<L, 1>(q3, q3u, cell + d * stride, stride, n, plain++, with_u++);
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
        const F x = L::load(plane + v * L::width);
        den[v] = fma_(x, inner.den[v], den[v]);
        num[v] = fma_(x, inner.num[v], num[v]);
      }
    }
    DEAL_INLINE void add(const float* plane, const float* g) {
      const F g0(g[0]), g1(g[1]);
      for (int v = 0; v < V; ++v) {
        const F x = L::load(plane + v * L::width);
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
