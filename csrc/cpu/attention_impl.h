// The probability attention module, written once over a lane type L.
//
// Direct: all pairs of cells. Polynomial: exp(t) on 0...1 is replaced by a polynomial of degree 4
// (relative error at most 1.62e-5, hence at most 0.81e-5 of max u - min u in the average); powers
// of p_j . p_i separate into monomials of p_j and of p_i, so the cost is linear in the cells.
//
// Probabilities sum to 1, so p_j . p_i = x + p_j . q with x = p_i of the last class and q = p_i -
// x, and q of the last class is 0: one class fewer, a quarter of the monomials of eleven. The
// polynomial of x + t has coefficients of t^k that depend on x alone; they multiply the monomials
// of degree k where these are summed.
//
// Monomials p_a, p_a p_b, p_a p_b p_c, p_a p_b p_c p_d with a <= b <= c <= d stand in preorder:
// constant; for a: (a; for b: (ab; for c: (abc; for d: abcd))).
#pragma once

#include "pixel/attention_plan.h"
#include "cpu/kernels.h"
#include "cpu/kernels_impl.h"
#include "pixel/pixel_math.h"

namespace deal {
namespace {

template <class L>
void softmax_row(const Between& row, Taps taps, int32_t classes, const float* weight,
                 const float* uncertainty_weight, float* p, int64_t stride, float* value,
                 int64_t n) {
  using F = typename L::F;
  for (int64_t x = 0; x < n; x += L::width, p += L::width, value += L::width) {
    const Block<L> block(taps, x);
    F largest(-INFINITY);
    for (int32_t c = 0; c < classes; ++c) {
      const F z = block.at(row, c);
      L::store(p + c * stride, z);
      largest = max_(largest, z);
    }
    F sum(0.0f);
    for (int32_t c = 0; c < classes; ++c) {
      const F e = exp_nonpositive(L::load(p + c * stride) - largest);
      L::store(p + c * stride, e);
      sum = sum + e;
    }
    const F inverse = F(1.0f) / sum;
    F v(0.0f);
    for (int32_t c = 0; c < classes; ++c) {
      const F share = probability(L::load(p + c * stride) * inverse);
      L::store(p + c * stride, share);
      v = add_class(v, share, weight[c], uncertainty_weight[c]);
    }
    L::store(value, v);
  }
}

// ---- direct -----------------------------------------------------------------------------------

// What two blocks of cells j have summed over cells i.
template <class L>
struct Weighted {
  using F = typename L::F;
  F num[2], den[2];

  DEAL_INLINE Weighted() {
    for (int v = 0; v < 2; ++v) num[v] = den[v] = F(0.0f);
  }
  DEAL_INLINE void add(const Weighted& part) {
    for (int v = 0; v < 2; ++v) {
      num[v] = num[v] + part.num[v];
      den[v] = den[v] + part.den[v];
    }
  }
  // Adds so many cells i, whose probabilities rows [kCells, C] and whose u begin here. near [C, 2]:
  // the blocks' probabilities. Dot products side by side hide the time that each addition takes.
  template <int kCells>
  DEAL_INLINE void add_cells(const float* near, const float* rows, int32_t classes,
                             const float* u) {
    F dot[kCells][2];
    for (auto& of : dot) of[0] = of[1] = F(0.0f);
    for (int32_t c = 0; c < classes; ++c) {
      const F first = L::hold(L::load(near + 2 * c * L::width));
      const F second = L::hold(L::load(near + (2 * c + 1) * L::width));
      for (int i = 0; i < kCells; ++i) {
        const F other(rows[int64_t{i} * classes + c]);
        dot[i][0] = fma_(first, other, dot[i][0]);
        dot[i][1] = fma_(second, other, dot[i][1]);
      }
    }
    for (int i = 0; i < kCells; ++i) {
      for (int v = 0; v < 2; ++v) {
        const F k = exp_unit(dot[i][v]);
        num[v] = fma_(k, F(u[i]), num[v]);
        den[v] = den[v] + k;
      }
    }
  }
};

template <class L>
void attention_direct(const float* p, int64_t stride, int32_t classes, const float* rows,
                      const float* u, int64_t cells, int64_t begin, int64_t end, float* average) {
  constexpr int64_t kBlock = 64;  // partial sums keep the rounding error of long sums small
  constexpr int kCells = L::width == 16 ? 8 : 4;  // as registers allow
  float near[DEAL_MAX_CLASSES * 2 * L::width];
  for (int64_t j = begin; j < end; j += 2 * L::width) {
    for (int32_t c = 0; c < classes; ++c) {  // planes lie far apart, and drive each other out
      for (int v = 0; v < 2; ++v) {
        L::store(near + (2 * c + v) * L::width, L::load(p + c * stride + j + v * L::width));
      }
    }
    Weighted<L> all;
    for (int64_t block = 0; block < cells; block += kBlock) {
      const int64_t stop = block + kBlock < cells ? block + kBlock : cells;
      Weighted<L> part;
      int64_t i = block;
      for (; i + kCells <= stop; i += kCells) {
        part.template add_cells<kCells>(near, rows + i * classes, classes, u + i);
      }
      for (; i < stop; ++i) part.template add_cells<1>(near, rows + i * classes, classes, u + i);
      all.add(part);
    }
    for (int v = 0; v < 2; ++v) L::store(average + j + v * L::width, all.num[v] / all.den[v]);
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

// Planes of n cells: the first, and the others one after the other.
struct Planes {
  const float *first, *others;
  int64_t n;

  DEAL_INLINE const float* at(int t) const { return t == 0 ? first : others + (t - 1) * n; }
  DEAL_INLINE Planes from(int t) const { return {at(t), others + t * n, n}; }
};

// A tile of a matrix product over the n cells of a chunk (a multiple of 16): the sums of each
// factor times each plane, and of those times u. factors [kFactors, 2, n]: plain and times u.
// Writes [kPlanes, 2] at to(f) for each factor f.
template <class L, int kFactors, int kPlanes, class To>
DEAL_INLINE void sum_tile(const float* factors, const Planes& planes, const To& to) {
  using F = typename L::F;
  constexpr int kParts = Sum16<L>::kParts;
  constexpr int kAtOnce = L::width == 1 ? kParts : 1;  // parts; more do not fit in the registers
  const int64_t n = planes.n;
  Sum16<L> sums[kFactors][2 * kPlanes];
  for (int part = 0; part < kParts; part += kAtOnce) {
    F partial[2 * kFactors][kPlanes][kAtOnce];
    for (auto& row : partial) {
      for (auto& of_plane : row) {
        for (F& sum : of_plane) sum = F(0.0f);
      }
    }
    for (int64_t i = part * L::width; i < n; i += 16) {
      for (int k = 0; k < kAtOnce; ++k) {
        const float* const at = factors + i + k * L::width;
        F factor[2 * kFactors];
        for (int f = 0; f < 2 * kFactors; ++f) factor[f] = L::load(at + f * n);
        for (int t = 0; t < kPlanes; ++t) {
          const F x = L::hold(L::load(planes.at(t) + i + k * L::width));
          for (int f = 0; f < 2 * kFactors; ++f) {
            partial[f][t][k] = fma_(factor[f], x, partial[f][t][k]);
          }
        }
      }
    }
    for (int f = 0; f < 2 * kFactors; ++f) {
      for (int t = 0; t < kPlanes; ++t) {
        for (int k = 0; k < kAtOnce; ++k) {
          sums[f / 2][2 * t + f % 2].part[part + k] = partial[f][t][k];
        }
      }
    }
  }
  for (int f = 0; f < kFactors; ++f) put_totals<L>(sums[f], to(f));
}

// The product of so many factors with so many planes, in tiles that the registers hold. Factors
// change faster: planes are many, and each comes into the nearest cache once.
template <class L, int kPlanes, class To>
DEAL_INLINE void sum_products(const float* factors, int32_t factor_count, Planes planes,
                              int64_t plane_count, const To& to, int64_t done = 0) {
  constexpr int kFactors = L::width == 16 ? 2 : 1;
  while (plane_count >= kPlanes) {
    int32_t f = 0;
    const auto place = [&](int k) { return to(f + k) + 2 * done; };
    for (; f + kFactors <= factor_count; f += kFactors) {
      sum_tile<L, kFactors, kPlanes>(factors + 2 * f * planes.n, planes, place);
    }
    for (; f < factor_count; ++f) {
      sum_tile<L, 1, kPlanes>(factors + 2 * f * planes.n, planes, place);
    }
    planes = planes.from(kPlanes);
    plane_count -= kPlanes;
    done += kPlanes;
  }
  if constexpr (kPlanes > 1) {
    sum_products<L, kPlanes - 1>(factors, factor_count, planes, plane_count, to, done);
  }
}

// Every monomial of degree 2...4 is p_a p_b of a <= b times a monomial of degree 0...2 in the
// classes from b on, which stand one after the other both among the planes here and in out: a
// matrix product for each b. scratch [moment_scratch(C), n].
template <class L>
void moments(const float* p, int64_t stride, int32_t classes, const float* u, const float* one,
             int64_t begin, int64_t end, float* scratch, float* out) {
  using F = typename L::F;
  constexpr int kPlanes = L::width == 1 ? 1 : 6;
  const int64_t n = end - begin;
  const int32_t last = classes - 1;
  float* next = scratch;
  const auto take = [&](int64_t planes) {
    float* const taken = next;
    next += planes * n;
    return taken;
  };
  float* const variables = take(2 * last);  // [C - 1, 2, n]: p_c less that of the last class
  float* const weight = take(4);            // [4, n]: of the sums of degree 0...3
  float* const factors = take(2 * moment_factors(classes));
  float* const planes = next;  // for c: c; for d: cd
  const auto plain = [&](int32_t c) { return variables + 2 * c * n; };
  const auto with_u = [&](int32_t c) { return variables + (2 * c + 1) * n; };
  for (int64_t i = 0; i < n; i += L::width) {
    const F x = L::load(p + last * stride + begin + i), value = L::load(u + begin + i);
    F expanded[4];
    expand_exp(x, expanded);
    for (int k = 0; k < 4; ++k) L::store(weight + k * n + i, expanded[k]);
    for (int32_t c = 0; c < last; ++c) {
      const F difference = L::load(p + c * stride + begin + i) - x;
      L::store(plain(c) + i, difference);
      L::store(with_u(c) + i, difference * value);
    }
  }
  const auto multiply = [n](const float* a, const float* b, float* to) {
    for (int64_t i = 0; i < n; i += L::width) L::store(to + i, L::load(a + i) * L::load(b + i));
  };
  float* plane = planes;
  for (int32_t c = 0; c < last; ++c) {
    multiply(plain(c), weight + 3 * n, plane);
    plane += n;
    for (int32_t d = c; d < last; ++d, plane += n) multiply(plain(c), plain(d), plane);
  }
  const auto term = [out](int64_t index) { return out + 2 * index; };
  const auto first_of = [last](int32_t a) { return first_term_of(a, last); };
  memcpy(factors, one + begin, static_cast<size_t>(n) * sizeof(float));
  memcpy(factors + n, u + begin, static_cast<size_t>(n) * sizeof(float));
  sum_products<L, 1>(factors, 1, {weight, weight, n}, 1, [&](int32_t) { return term(0); });
  sum_products<L, 1>(variables, last, {weight + n, weight, n}, 1,
                     [&](int32_t a) { return term(first_of(a)); });
  for (int32_t b = 0; b < last; ++b) {
    for (int32_t a = 0; a <= b; ++a) {
      multiply(plain(a), plain(b), factors + 2 * a * n);
      multiply(with_u(a), plain(b), factors + (2 * a + 1) * n);
    }
    // Before b: monomials of degree 1 and 2 that begin with a lower class.
    const int64_t left = monomials_in(last - b, 2);
    const int64_t before = monomials_in(last, 2) - left;
    sum_products<L, kPlanes>(
        factors, b + 1, {weight + 2 * n, planes + before * n, n}, left, [&](int32_t a) {
          return term(first_of(a) + monomials_in(last - a, 3) - monomials_in(last - b, 3) + 1);
        });
  }
}

// ---- evaluation -------------------------------------------------------------------------------

// coefficients [terms, 2]: of the sum of weights and of the sum of weighted u.
template <class L>
void polynomial(const float* p, int64_t stride, int32_t classes, const float* coefficients,
                int64_t begin, int64_t end, float* average) {
  using F = typename L::F;
  const int32_t last = classes - 1;
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
    for (int32_t a = 0; a < last; ++a) {
      Pair in_a(g);
      g += 2;
      for (int32_t b = a; b < last; ++b) {
        Pair in_b(g);
        g += 2;
        for (int32_t c = b; c < last; ++c) {
          Pair in_c(g);
          g += 2;
          for (int32_t d = c; d < last; ++d, g += 2) in_c.add(cell + d * stride, g);
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
