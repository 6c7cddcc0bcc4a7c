// The probability attention module on a CUDA device: the sums of attention_impl.h, in their order.
#include "cuda/attention_cuda.h"

#include <float.h>

#include <algorithm>

#include "pixel/attention_plan.h"
#include "cuda/cuda_tools.h"
#include "cuda/device_steps.h"

namespace deal {
namespace {

constexpr int kThreads = 128;
constexpr int kTileCells = 128;              // of the moments: cells in shared memory at a time
constexpr int kTileStride = kTileCells + 4;  // four cells of eight classes lie in different banks
constexpr int kParts = 16;                   // partial sums of a moment, as on the CPU
constexpr int kSumCells = 64;  // of direct attention: cells summed before they are added up
constexpr int kDots = 8;       // and at a time: each probability is read once for them

struct Job {
  TensorView logits;
  int32_t classes;
  int64_t grid_width, cells, chunks, terms;
  Taps x, y;
  CudaAttention a;
  const int64_t* nonfinite;
  float* grid;
  float gamma, bias, low, spread, scale;
  float weight[DEAL_MAX_CLASSES];
  float uncertainty_weight[DEAL_MAX_CLASSES];
};

__device__ const float* probabilities(const Job& job, int64_t b) {
  return job.a.p + b * job.classes * job.cells;
}

__device__ int64_t thread_index() { return int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }

__device__ void put_value(const Job& job, int64_t b, int64_t cell, float average) {
  const int64_t at = b * job.cells + cell;
  job.grid[at] = job.gamma * (job.low + job.spread * average) + job.a.value[at] + job.bias;
}

// Images with bad inputs leave zeros and end here. Whole blocks take the same way.
__device__ bool leave_bad(const Job& job, int64_t b, int64_t cell) {
  if (job.nonfinite[b] == 0) return false;
  if (cell < job.cells) job.grid[b * job.cells + cell] = 0.0f;
  return true;
}

// ---- softmax ----------------------------------------------------------------------------------

template <int32_t kDtype>
__global__ void softmax_cells(const Job job) {
  const int64_t b = blockIdx.y, cell = thread_index();
  if (job.nonfinite[b] != 0 || cell >= job.cells) return;
  const PixelLogits<kDtype> logits(job.logits, b, tap_at(job.y, cell / job.grid_width),
                                   tap_at(job.x, cell % job.grid_width));
  float largest = logits(0);
  for (int32_t c = 1; c < job.classes; ++c) largest = max_(largest, logits(c));
  float* p = job.a.p + b * job.classes * job.cells + cell;
  float sum = 0.0f;
  for (int32_t c = 0; c < job.classes; ++c) {
    const float e = exp_nonpositive(logits(c) - largest);
    p[c * job.cells] = e;
    sum = sum + e;
  }
  const float inverse = 1.0f / sum;
  float v = 0.0f;
  for (int32_t c = 0; c < job.classes; ++c) {
    const float share = probability(p[c * job.cells] * inverse);
    p[c * job.cells] = share;
    v = add_class(v, share, job.weight[c], job.uncertainty_weight[c]);
  }
  job.a.value[b * job.cells + cell] = v;
  job.a.u[b * job.cells + cell] = (v - job.low) * job.scale;
}

// ---- direct -----------------------------------------------------------------------------------

// What the warps of a block hold in shared memory: sums over their cells, then these cells.
struct DirectTile {
  Average* sums;  // [warps, 32]
  float* others;  // [C, kDots] of this warp
  float* values;  // [kDots] of this warp

  static size_t bytes(int64_t classes, int64_t warps) {
    return static_cast<size_t>(warps) *
           (sizeof(Average) * 32 + sizeof(float) * kDots * static_cast<size_t>(classes + 1));
  }
  __device__ explicit DirectTile(int32_t classes)
      : sums(reinterpret_cast<Average*>(deal_block_memory)) {
    const int warps = static_cast<int>(blockDim.x / 32), warp = static_cast<int>(threadIdx.x / 32);
    others = reinterpret_cast<float*>(sums + warps * 32) + warp * kDots * (classes + 1);
    values = others + classes * kDots;
  }
};

// Sums over cells begin...begin + kSumCells - 1, by one warp.
__device__ Average sum_cells(const Job& job, const DirectTile& tile, const float* p, const float* u,
                             const float* own, int64_t begin) {
  Average sum = {0.0f, 0.0f};
  const int64_t end = begin + kSumCells < job.cells ? begin + kSumCells : job.cells;
  for (int64_t first = begin; first < end; first += kDots) {
    __syncwarp();
    for (int32_t i = lane_of_warp(); i < (job.classes + 1) * kDots; i += 32) {
      const int64_t other = first + i % kDots;
      const float* plane = i < job.classes * kDots ? p + i / kDots * job.cells : u;
      tile.others[i] = other < job.cells ? plane[other] : 0.0f;
    }
    __syncwarp();
    float dot[kDots] = {};
    for (int32_t c = 0; c < job.classes; ++c) {
      const float mine = own[c * job.cells];
#pragma unroll
      for (int k = 0; k < kDots; ++k) dot[k] = fma_(mine, tile.others[c * kDots + k], dot[k]);
    }
#pragma unroll
    for (int k = 0; k < kDots; ++k) {
      if (first + k >= job.cells) continue;
      const float weight = exp_unit(dot[k]);
      sum.value = fma_(weight, tile.values[k], sum.value);
      sum.weight = sum.weight + weight;
    }
  }
  return sum;
}

// A block averages over all cells for 32 of them, each warp over kSumCells at a time. Their sums
// are added up in the order of the cells.
__global__ void average_directly(const Job job) {
  const int64_t b = blockIdx.y, cell = int64_t{blockIdx.x} * 32 + lane_of_warp();
  if (leave_bad(job, b, cell)) return;
  const DirectTile tile(job.classes);
  const int warps = static_cast<int>(blockDim.x / 32), warp = static_cast<int>(threadIdx.x / 32);
  const float* p = probabilities(job, b);
  const float* own = p + (cell < job.cells ? cell : job.cells - 1);
  Average whole = {0.0f, 0.0f};
  for (int64_t begin = 0; begin < job.cells; begin += warps * kSumCells) {
    tile.sums[threadIdx.x] =
        sum_cells(job, tile, p, job.a.u + b * job.cells, own, begin + warp * kSumCells);
    __syncthreads();
    for (int k = 0; warp == 0 && k < warps; ++k) {
      const Average part = tile.sums[k * 32 + lane_of_warp()];
      whole.weight = whole.weight + part.weight;
      whole.value = whole.value + part.value;
    }
    __syncthreads();
  }
  if (warp == 0 && cell < job.cells) put_value(job, b, cell, whole.value / whole.weight);
}

// ---- polynomial -------------------------------------------------------------------------------

// The order of Sum16::total(); the sum ends up in the first part.
template <int kHalf>
__device__ void fold(float (&part)[kParts]) {
#pragma unroll
  for (int k = 0; k < kHalf; ++k) part[k] = part[k] + part[k + kHalf];
  if constexpr (kHalf > 1) fold<kHalf / 2>(part);
}

// What the row of the tile of moments holds of a cell.
__device__ float tile_value(const Job& job, int64_t b, int64_t cell, int row) {
  const int32_t last = job.classes - 1;
  if (row == last) return 1.0f;
  if (row == last + 1) return job.a.u[b * job.cells + cell];
  const float* p = probabilities(job, b) + cell;
  const float x = p[last * job.cells];
  if (row < last) return p[row * job.cells] - x;
  float expanded[4];
  expand_exp(x, expanded);
  row -= last + 2;
  return row == 0 ? expanded[0] : row == 1 ? expanded[1] : row == 2 ? expanded[2] : expanded[3];
}

// A thread sums one monomial over one chunk of cells.
__global__ void sum_moments(const Job job) {
  const int64_t b = blockIdx.y;
  if (job.nonfinite[b] != 0) return;
  const int64_t chunk = blockIdx.x % job.chunks;
  const int64_t index = blockIdx.x / job.chunks * kThreads + threadIdx.x;
  const int32_t last = job.classes - 1;
  const Term term = term_at(index < job.terms ? index : 0, last);
  const int rows = last + 6;  // in shared memory: q, 1, u, weights of the degrees 0...3
  float* tile = reinterpret_cast<float*>(deal_block_memory);  // [rows, kTileStride]
  const float* factor[4];
  for (int k = 0; k < 4; ++k) factor[k] = tile + term.factor[k] * kTileStride;
  if (term.degree < 4) factor[3] = tile + (last + 2 + term.degree) * kTileStride;
  const float* u = tile + (last + 1) * kTileStride;
  float plain[kParts] = {}, with_u[kParts] = {};
  for (int64_t begin = chunk * kChunkCells; begin < (chunk + 1) * kChunkCells;
       begin += kTileCells) {
    __syncthreads();
    for (int i = threadIdx.x; i < kTileCells * rows; i += kThreads) {
      const int64_t cell = begin + i % kTileCells;
      const int c = i / kTileCells;
      const float value = cell < job.cells ? tile_value(job, b, cell, c) : 0.0f;
      tile[c * kTileStride + i % kTileCells] = value;
    }
    __syncthreads();
    for (int i = 0; i < kTileCells; i += kParts) {
#pragma unroll
      for (int k = 0; k < kParts; ++k) {
        const float first = factor[0][i + k], second = factor[1][i + k];
        const float others = factor[2][i + k] * factor[3][i + k];
        plain[k] = fma_(first * second, others, plain[k]);
        with_u[k] = fma_(first * u[i + k] * second, others, with_u[k]);
      }
    }
  }
  if (index >= job.terms) return;
  fold<kParts / 2>(plain);
  fold<kParts / 2>(with_u);
  float* out = job.a.moments + (b * job.chunks + chunk) * 2 * job.terms + index;
  out[0] = plain[0];
  out[job.terms] = with_u[0];
}

// Adds up the chunks in their order and multiplies as build_coefficients does on the CPU.
__global__ void make_coefficients(const Job job) {
  const int64_t b = blockIdx.y, index = thread_index();
  if (job.nonfinite[b] != 0 || index >= job.terms) return;
  const Term term = term_at(index, job.classes - 1);
  double plain = 0.0, with_u = 0.0;
  for (int64_t chunk = 0; chunk < job.chunks; ++chunk) {
    const float* sums = job.a.moments + (b * job.chunks + chunk) * 2 * job.terms + index;
    plain += sums[0];
    with_u += sums[job.terms];
  }
  constexpr double kFourth = kExp[4];
  const double factor = term.degree == 4 ? kFourth * term.orders : term.orders;
  float* out = job.a.coefficients + (b * job.terms + index) * 2;
  out[0] = static_cast<float>(factor * plain);
  out[1] = static_cast<float>(factor * with_u);
}

// A block evaluates 32 cells, each warp what begins with its classes.
__global__ void average_by_polynomial(const Job job) {
  const int64_t b = blockIdx.y, cell = int64_t{blockIdx.x} * 32 + lane_of_warp();
  if (leave_bad(job, b, cell)) return;
  const int32_t last = job.classes - 1;
  const int warps = static_cast<int>(blockDim.x / 32), warp = static_cast<int>(threadIdx.x / 32);
  Average* parts = reinterpret_cast<Average*>(deal_block_memory);   // [C, 32]
  float* own = reinterpret_cast<float*>(parts + job.classes * 32);  // [C, 32]
  const float* p = probabilities(job, b) + (cell < job.cells ? cell : job.cells - 1);
  for (int32_t c = warp; c < last; c += warps) {
    own[c * 32 + lane_of_warp()] = p[c * job.cells];
  }
  __syncthreads();
  const auto* coefficients =
      reinterpret_cast<const Average*>(job.a.coefficients + b * job.terms * 2);
  const auto probability_of = [&](int32_t c) { return own[c * 32 + lane_of_warp()]; };
  for (int32_t a = warp; a < last; a += warps) {
    parts[a * 32 + lane_of_warp()] =
        sum_from(a, probability_of, last, coefficients + first_term_of(a, last));
  }
  __syncthreads();
  if (warp != 0 || cell >= job.cells) return;
  Average whole = coefficients[0];
  for (int32_t a = 0; a < last; ++a) {
    whole.add(probability_of(a), parts[a * 32 + lane_of_warp()]);
  }
  put_value(job, b, cell, whole.value / whole.weight);
}

int64_t chunks_of(int64_t cells) { return blocks_for(cells, kChunkCells); }

}  // namespace

void CudaAttention::carve(Carver& carver, const Request& request) {
  const int64_t batch = request.logits.batch, classes = request.head->channels;
  const int64_t cells = request.grid_height * request.grid_width;
  p = carver.take<float>(batch * classes * cells);
  value = carver.take<float>(batch * cells);
  u = carver.take<float>(batch * cells);
  const bool polynomial = use_polynomial(*request.head, cells);
  const int64_t terms = polynomial ? monomials(classes) : 0;
  moments = carver.take<float>(batch * chunks_of(cells) * 2 * terms);
  coefficients = carver.take<float>(batch * terms * 2);
}

void CudaAttention::enqueue(const Request& request, Taps x, Taps y, const int64_t* nonfinite,
                            float* grid, cudaStream_t stream) const {
  const deal_head& head = *request.head;
  Job job = {};
  job.logits = request.logits;
  job.classes = static_cast<int32_t>(head.channels);
  job.grid_width = request.grid_width;
  job.cells = request.grid_height * request.grid_width;
  job.chunks = chunks_of(job.cells);
  job.terms = monomials(head.channels);
  job.x = x;
  job.y = y;
  job.a = *this;
  job.nonfinite = nonfinite;
  job.grid = grid;
  job.gamma = head.gamma;
  job.bias = head.bias;
  std::copy(head.weight, head.weight + head.channels, job.weight);
  std::copy_n(head.uncertainty_weight, head.channels, job.uncertainty_weight);
  const ValueRange range(head);
  job.low = range.low;
  job.spread = range.spread;
  // u in 0...1 keeps the averages free of cancellation and their error relative to the spread.
  job.scale = job.spread > FLT_MIN ? 1.0f / job.spread : 0.0f;

  const int64_t batch = request.logits.batch;
  const auto softmax = request.logits.dtype == DEAL_FLOAT32   ? softmax_cells<DEAL_FLOAT32>
                       : request.logits.dtype == DEAL_FLOAT16 ? softmax_cells<DEAL_FLOAT16>
                                                              : softmax_cells<DEAL_BFLOAT16>;
  launch(softmax, blocks_for(job.cells, 32), batch, 32, 0, stream, job);
  if (use_polynomial(head, job.cells)) {
    const int64_t term_blocks = blocks_for(job.terms, kThreads);
    const size_t tile = sizeof(float) * kTileStride * static_cast<size_t>(head.channels + 5);
    launch(sum_moments, term_blocks * job.chunks, batch, kThreads, tile, stream, job);
    launch(make_coefficients, term_blocks, batch, kThreads, 0, stream, job);
    const int warps = static_cast<int>(std::min<int64_t>(head.channels, 8));
    const size_t parts =
        (sizeof(Average) + sizeof(float)) * 32 * static_cast<size_t>(head.channels);
    launch(average_by_polynomial, blocks_for(job.cells, 32), batch, warps * 32, parts, stream, job);
  } else {
    const int warps = head.channels <= 128 ? 8 : 4;  // their tiles fit into shared memory
    launch(average_directly, blocks_for(job.cells, 32), batch, warps * 32,
           DirectTile::bytes(head.channels, warps), stream, job);
  }
}

}  // namespace deal
