#include "cpu/attention_cpu.h"

#include <float.h>

#include <algorithm>

namespace deal {
namespace {

int64_t chunks_of(int64_t cells) { return (cells + kChunkCells - 1) / kChunkCells; }

// Sums the chunks in order and multiplies each moment by the number of orders in which its factors
// can stand; those of degree 4 also by their coefficient, which the others have already.
void build_coefficients(const float* moments, int64_t chunks, int32_t classes, float* out) {
  const int64_t terms = monomials(classes);
  const int32_t last = classes - 1;
  int64_t term = 0;
  const auto put = [&](double factor) {
    double plain = 0.0, with_u = 0.0;
    for (int64_t k = 0; k < chunks; ++k) {
      plain += moments[2 * (k * terms + term)];
      with_u += moments[2 * (k * terms + term) + 1];
    }
    out[2 * term] = static_cast<float>(factor * plain);
    out[2 * term + 1] = static_cast<float>(factor * with_u);
    ++term;
  };
  put(1);
  for (int32_t a = 0; a < last; ++a) {
    put(1);
    for (int32_t b = a; b < last; ++b) {
      const int two = a == b ? 1 : 2;
      put(two);
      for (int32_t c = b; c < last; ++c) {
        const int equal_bc = b == c ? (a == b ? 3 : 2) : 1;  // factors equal to the last
        const int three = two * 3 / equal_bc;
        put(three);
        for (int32_t d = c; d < last; ++d) {
          const int equal_d = d == c ? equal_bc + 1 : 1;
          put(kExp[4] * (three * 4 / equal_d));
        }
      }
    }
  }
}

// A few cells at a time, whose numbers of a class are neighbours.
void write_rows(const AttentionArrays& arrays, int32_t classes, int64_t begin, int64_t end) {
  constexpr int64_t kStep = 16;
  for (int64_t first = begin; first < end; first += kStep) {
    const int64_t stop = std::min(first + kStep, end);
    for (int32_t c = 0; c < classes; ++c) {
      for (int64_t i = first; i < stop; ++i) {
        arrays.rows[i * classes + c] = arrays.p[c * arrays.stride + i];
      }
    }
  }
}

}  // namespace

void AttentionArrays::carve(Carver& carver, const Request& request, int slots) {
  cells = request.grid_height * request.grid_width;
  stride = (cells + kPad - 1) / kPad * kPad;
  const int64_t classes = request.head->channels;
  p = carver.take<float>(classes * stride);
  value = carver.take<float>(stride);
  u = carver.take<float>(stride);
  one = carver.take<float>(stride);
  average = carver.take<float>(stride);
  if (use_polynomial(*request.head, cells)) {
    const int64_t terms = monomials(classes);
    moments = carver.take<float>(chunks_of(cells) * 2 * terms);
    coefficients = carver.take<float>(2 * terms);
    scratch = carver.take<float>(slots * kChunkCells * moment_scratch(classes));
  } else {
    rows = carver.take<float>(cells * classes);
  }
}

void attend(const Kernels& kernels, const deal_head& head, const AttentionArrays& arrays,
            Team& team) {
  const int64_t cells = arrays.cells, stride = arrays.stride;
  const int32_t classes = static_cast<int32_t>(head.channels);
  const auto [low, spread] = ValueRange(head);
  // u in 0...1 keeps the averages free of cancellation and their error relative to the spread.
  const float scale = spread > FLT_MIN ? 1.0f / spread : 0.0f;
  for (int64_t i = 0; i < stride; ++i) {
    const bool cell = i < cells;
    arrays.u[i] = cell ? (arrays.value[i] - low) * scale : 0.0f;
    arrays.one[i] = cell ? 1.0f : 0.0f;
    for (int32_t c = 0; !cell && c < classes; ++c) arrays.p[c * stride + i] = 0.0f;
  }
  if (use_polynomial(head, cells)) {
    const int64_t terms = monomials(classes), chunks = chunks_of(cells);
    team.run(chunks, 1, [&](int64_t begin, int64_t end, int slot) {
      for (int64_t k = begin; k < end; ++k) {
        kernels.moments(arrays.p, stride, classes, arrays.u, arrays.one, k * kChunkCells,
                        std::min((k + 1) * kChunkCells, stride),
                        arrays.scratch + slot * kChunkCells * moment_scratch(classes),
                        arrays.moments + k * 2 * terms);
      }
    });
    build_coefficients(arrays.moments, chunks, classes, arrays.coefficients);
    team.run(stride, kPad, [&](int64_t begin, int64_t end, int) {
      kernels.polynomial(arrays.p, stride, classes, arrays.coefficients, begin, end,
                         arrays.average);
    });
  } else {
    team.run(cells, kPad,
             [&](int64_t begin, int64_t end, int) { write_rows(arrays, classes, begin, end); });
    team.run(stride, kPad, [&](int64_t begin, int64_t end, int) {
      kernels.attention_direct(arrays.p, stride, classes, arrays.rows, arrays.u, cells, begin, end,
                               arrays.average);
    });
  }
  for (int64_t i = 0; i < cells; ++i) {
    const float v = arrays.value[i];
    arrays.value[i] = head.gamma * (low + spread * arrays.average[i]) + v + head.bias;
  }
}

}  // namespace deal
