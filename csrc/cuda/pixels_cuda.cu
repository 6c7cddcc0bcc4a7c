// Statistics of a batch on a CUDA device: one fused pass over the logits, integer totals.
#include "cuda/pixels_cuda.h"

#include <math.h>

#include <algorithm>

#include "cuda/cuda_tools.h"
#include "cuda/device_steps.h"
#include "cuda/raster_cuda.h"

namespace deal {
namespace {

constexpr int64_t kSharedRegionBytes = 16384;  // regions beyond it are added to global memory

struct Job : PixelJob {
  float inverse_log_classes;
  int64_t window;  // regions that fit into shared memory
};

__device__ bool is_bad(const Job& job) { return job.sums.nonfinite[blockIdx.y] != 0; }

// Calls fn(y, at) for the rows of a column; logits hold what lies around them. Lane k knows where
// row k is, and whether it lies between other rows of logits than the one before.
template <class Logits, class Fn>
__device__ void for_each_row(Logits& logits, const Request& r, const Column& column, Taps rows,
                             Fn&& fn) {
  static_assert(kRasterRows <= 32, "a lane a row");
  if (!column.any_inside) return;
  const int count = static_cast<int>(column.last - column.first + 1), lane = lane_of_warp();
  const uint32_t mine = column.first + (lane < count ? lane : count - 1);
  const Tap own = tap_at(rows, mine), before = tap_at(rows, mine > column.first ? mine - 1 : mine);
  const unsigned others = __ballot_sync(
      kWholeWarp, lane == 0 || own.first != before.first || own.second != before.second);
  const uint32_t width = static_cast<uint32_t>(r.width);
  uint32_t at = column.at(r, column.first);
  for (int row = 0; row < count;) {
    logits.hold(static_cast<int32_t>(__shfl_sync(kWholeWarp, own.first, row)),
                static_cast<int32_t>(__shfl_sync(kWholeWarp, own.second, row)));
    do {
      logits.down =
          as_float(static_cast<int32_t>(__shfl_sync(kWholeWarp, as_int(own.weight), row)));
      fn(column.first + row, at);
      at += width;
      ++row;
    } while (row < count && (others >> row & 1) == 0);
  }
}

// ---- difficulty -------------------------------------------------------------------------------

// The map, and its range over the unmasked pixels.
__global__ void make_difficulty(const Job job) {
  const Column column(job.r);
  float* const out = column.map(job.r, job.difficulty);
  if (is_bad(job)) return column.fill(job.r, out);
  TensorView view = {};
  view.data = reinterpret_cast<const char*>(job.grid);
  view.channels = 1;
  view.batch_stride = job.r.grid_height * job.r.grid_width;
  view.row_stride = job.r.grid_width;
  view.column_stride = 1;
  ColumnLogits<DEAL_FLOAT32, 1> grid(view, column.b, tap_at(job.grid_x, column.x));
  const uint8_t* const mask = column.mask(job.r);
  float least = 2.0f, most = -1.0f;  // beyond any sigmoid
  for_each_row(grid, job.r, column, job.grid_y, [&](uint32_t, uint32_t at) {
    const float d = sigmoid(grid(0));
    if (column.inside) out[at] = d;
    if (!column.kept(mask, at)) return;
    least = min_(least, d);
    most = max_(most, d);
  });
  const bool none = most < 0.0f;
  const uint32_t low = warp_max(none ? 0 : falling_bits(least));
  const uint32_t high = warp_max(none ? 0 : rising_bits(most));
  if (lane_of_warp() == 0) {
    raise(job.sums.low + blockIdx.y, low);
    raise(job.sums.high + blockIdx.y, high);
  }
}

// ---- statistics -------------------------------------------------------------------------------

// What columns give by class. The other fields of an image are summed in its first class's record.
constexpr int kByClass = 4;
__device__ constexpr RecordField by_class(int k) {
  return k == 0 ? kCount : k == 1 ? kEntropy : k == 2 ? kDifficulty : kDifficultyEntropy;
}
constexpr int kByImage = 4;
__device__ constexpr RecordField by_image(int k) {
  return k == 0   ? kMargin
         : k == 1 ? kLeastConfidence
         : k == 2 ? kDifficultyMargin
                  : kDifficultyLeastConfidence;
}

// Totals of one block in shared memory. Of a class every lane has its own, so that no two of a warp
// add to one: 4 warps x 16 rows of at most 28 classes stay below 2^32.
static_assert(kRasterThreads / 32 * kRasterRows <= 64, "sums of lanes overflow");
DEAL_INLINE int64_t block_words(int64_t classes, int64_t regions, int64_t held) {
  return kByClass * held * 32 + kHistograms * kLevels + regions * (kRecord * 2 + classes);
}
template <int kHeld>
struct BlockSums {
  uint32_t* classes;         // [4, held, 32]
  uint32_t* hists;           // [3, 240]
  int64_t* regions;          // [window, 8]
  uint32_t* region_classes;  // [window, C]
  RegionWindow window;

  __device__ BlockSums(const Job& job, const Column& column)
      : classes(reinterpret_cast<uint32_t*>(deal_block_memory)),
        hists(classes + kByClass * kHeld * 32),
        regions(reinterpret_cast<int64_t*>(hists + kHistograms * kLevels)),
        region_classes(reinterpret_cast<uint32_t*>(regions + job.window * kRecord)),
        window(region_window(job.r, column.first, column.last, job.window)) {}

  __device__ void clear(const Job& job) const {
    const int n = static_cast<int>(block_words(job.r.logits.channels, job.window, kHeld));
    for (int i = threadIdx.x; i < n; i += kRasterThreads) classes[i] = 0;
  }
  __device__ void flush(const Job& job) const {
    const int64_t c = job.r.logits.channels, b = blockIdx.y;
    const int64_t region = b * job.r.region_count + window.first;
    const auto add_all = [](const auto* here, auto* total, int64_t n) {
      for (int64_t i = threadIdx.x; i < n; i += kRasterThreads) add(total + i, here[i]);
    };
    add_all(hists, job.sums.hists + b * kHistograms * kLevels, kHistograms * kLevels);
    add_all(regions, job.sums.region_sums + region * kRecord, window.count * kRecord);
    add_all(region_classes, job.sums.region_classes + region * c, window.count * c);
    if constexpr (kHeld > 0) {
      for (int i = threadIdx.x; i < kByClass * kHeld; i += kRasterThreads) {
        if (i % kHeld >= c) continue;
        uint64_t sum = 0;
        for (int k = 0; k < 32; ++k) sum += classes[i * 32 + (k + i) % 32];
        add(job.sums.class_sums + (b * c + i % kHeld) * kRecord + by_class(i / kHeld), sum);
      }
    }
  }
};

// Lane k adds field k of the lanes that are `mine` to the record at `total`.
__device__ void add_record(bool mine, const int32_t (&record)[kRecord], int64_t* total) {
  uint32_t mine_to_add = 0;
#pragma unroll
  for (int k = 0; k < kRecord; ++k) {
    const uint32_t sum = warp_sum(mine ? static_cast<uint32_t>(record[k]) : 0);
    if (lane_of_warp() == k) mine_to_add = sum;
  }
  if (lane_of_warp() < kRecord) add(total + lane_of_warp(), mine_to_add);
}

// Adds the pixels of a warp to their regions.
template <int kHeld>
__device__ void add_to_regions(const Job& job, const BlockSums<kHeld>& block, const Column& column,
                               uint32_t y, bool kept, int32_t label,
                               const int32_t (&record)[kRecord]) {
  const int64_t region = kept ? region_of(job.r, column.b, column.x, y) : -1;
  const int64_t classes = job.r.logits.channels;
  const auto is_near = [&](int64_t id) {
    return id >= block.window.first && id - block.window.first < block.window.count;
  };
  const auto all = [&](int64_t id) { return column.b * job.r.region_count + id; };
  for_each_key(region >= 0, region, [&](int64_t key, unsigned, bool mine) {
    add_record(mine, record,
               is_near(key) ? block.regions + (key - block.window.first) * kRecord
                            : job.sums.region_sums + all(key) * kRecord);
  });
  if (region < 0) return;
  add((is_near(region) ? block.region_classes + (region - block.window.first) * classes
                       : job.sums.region_classes + all(region) * classes) +
          label,
      1u);
}

// On a multiprocessor at least: as many registers as these leave hold the classes without spilling.
constexpr int blocks_at_once(int held) {
  return held <= 12 ? 6 : held <= 20 ? 4 : held <= 24 ? 3 : 2;
}

template <int32_t kDtype, int32_t kLeast, int32_t kMost>
__global__ void __launch_bounds__(kRasterThreads, blocks_at_once(kMost))
    score_pixels(const Job job) {
  const Column column(job.r);
  uint8_t* const labels = column.map(job.r, job.labels);
  if (is_bad(job)) return column.fill(job.r, labels);
  const BlockSums<kMost> block(job, column);
  block.clear(job);
  __syncthreads();
  const float low = from_falling(job.sums.low[blockIdx.y]);
  const float per_range = inverse_range(low, from_rising(job.sums.high[blockIdx.y]));
  const int32_t classes = static_cast<int32_t>(job.r.logits.channels);
  const Tap x = tap_at(job.logits_x, column.x);
  const uint8_t* const mask = column.mask(job.r);
  const float* const difficulty = column.map(job.r, job.difficulty);
  uint32_t* const by_lane = block.classes + lane_of_warp();
  uint32_t sums[kByImage] = {};
  const auto add_pixel = [&](uint32_t y, uint32_t at, const auto& logits) {
    const bool kept = column.kept(mask, at);
    const float d = job.grid != nullptr ? difficulty[at] : 0.0f;
    int32_t label, record[kRecord];
    const Uncertainty<float> u = score_pixel<kLeast, kMost>(logits, classes, &label);
    make_record(u, d, record);
    if (kept) {
      add(block.hists + level_of(u.entropy * job.inverse_log_classes), 1u);
      if (job.grid != nullptr) {
        add(block.hists + kLevels + level_of(d), 1u);
        add(block.hists + 2 * kLevels + level_of(max_((d - low) * per_range, 0.0f)), 1u);
      }
      if constexpr (kMost > 0) {
#pragma unroll
        for (int k = 0; k < kByClass; ++k) {
          atomicAdd(by_lane + (k * kMost + label) * 32, static_cast<uint32_t>(record[by_class(k)]));
        }
#pragma unroll
        for (int k = 0; k < kByImage; ++k) {
          sums[k] += static_cast<uint32_t>(record[by_image(k)]);
        }
      }
    }
    if (labels != nullptr && column.inside) labels[at] = static_cast<uint8_t>(label);
    if constexpr (kMost == 0) {
      for_each_key(kept, label, [&](int64_t key, unsigned, bool mine) {
        add_record(mine, record, job.sums.class_sums + (column.b * classes + key) * kRecord);
      });
    }
    if (job.r.region_kind != DEAL_REGIONS_NONE) {
      add_to_regions(job, block, column, y, kept, label, record);
    }
  };
  if constexpr (kMost > 0) {
    ColumnLogits<kDtype, kMost> logits(job.r.logits, column.b, x);
    for_each_row(logits, job.r, column, job.logits_y,
                 [&](uint32_t y, uint32_t at) { add_pixel(y, at, logits); });
  } else {
    for (uint32_t y = column.first; column.any_inside && y <= column.last; ++y) {
      add_pixel(y, column.at(job.r, y),
                PixelLogits<kDtype>(job.r.logits, column.b, tap_at(job.logits_y, y), x));
    }
  }
  if constexpr (kMost > 0) {  // sums of 16 rows: halves, or 32 of them would overflow
    int64_t* const total = job.sums.class_sums + column.b * classes * kRecord;
#pragma unroll
    for (int k = 0; k < kByImage; ++k) {
      const uint64_t high = warp_sum(sums[k] >> 16), sum = (high << 16) + warp_sum(sums[k] & 65535);
      if (lane_of_warp() == 0) add(total + by_image(k), sum);
    }
  }
  __syncthreads();
  block.flush(job);
}

// ---- boundaries and boxes ---------------------------------------------------------------------

// Pixels with a 4-neighbour of another class, of the image and of its regions, from finished
// labels.
__global__ void count_boundary(const Job job) {
  if (is_bad(job)) return;
  const Column column(job.r);
  const int lane = lane_of_warp();
  const uint32_t width = static_cast<uint32_t>(job.r.width);
  const uint8_t* const labels = column.map(job.r, job.labels);
  const uint8_t* const mask = column.mask(job.r);
  // -1: masked or outside.
  const auto label = [&](bool there, uint32_t at) {
    return there && (mask == nullptr || mask[at] != 0) ? int32_t{labels[at]} : -1;
  };
  // Beside the warp: to the left of its first lane, to the right of its last.
  const bool ends = lane == 0 || lane == 31;
  const bool beyond = ends && column.inside && (lane == 0 ? column.x > 0 : column.x + 1 < width);
  const int to_left = (lane + 31) % 32, to_right = (lane + 1) % 32;
  uint32_t count = 0, at = column.at(job.r, column.first);
  int32_t above = label(column.inside && column.first > 0, at - width);
  int32_t here = label(column.inside, at);
  for (uint32_t y = column.first; y <= column.last; ++y, at += width) {
    const int32_t below = label(column.inside && y + 1 < job.r.height, at + width);
    const int32_t beside = label(beyond, lane == 0 ? at - 1 : at + 1);
    const int32_t shown = static_cast<int32_t>(__shfl_sync(kWholeWarp, here, to_left));
    const int32_t left = lane == 0 ? beside : shown;
    const int32_t other = static_cast<int32_t>(__shfl_sync(kWholeWarp, here, to_right));
    const int32_t right = lane == 31 ? beside : other;
    const auto differs = [&](int32_t neighbour) { return neighbour >= 0 && neighbour != here; };
    const bool found =
        here >= 0 && (differs(left) || differs(right) || differs(above) || differs(below));
    count += found;
    above = here;
    here = below;
    if (job.r.region_kind == DEAL_REGIONS_NONE) continue;
    const int64_t region = found ? region_of(job.r, column.b, column.x, y) : -1;
    for_each_key(region >= 0, region, [&](int64_t key, unsigned peers, bool) {
      if (lane != 0) return;
      add(job.sums.region_boundary + column.b * job.r.region_count + key, __popc(peers));
    });
  }
  count = warp_sum(count);
  if (lane == 0) add(job.sums.boundary + blockIdx.y, count);
}

// The same of an image alone, unmasked, four pixels of a row at a time: rows are whole words.
__global__ void count_boundary_by_words(const Job job) {
  if (is_bad(job)) return;
  const uint32_t width = static_cast<uint32_t>(job.r.width) / 4;  // in words
  const uint32_t height = static_cast<uint32_t>(job.r.height);
  const uint32_t runs = (height + kRasterRows - 1) / kRasterRows;
  const uint32_t thread = blockIdx.x * kRasterThreads + threadIdx.x;
  const uint32_t x = thread % width, first = thread / width * kRasterRows;
  uint32_t count = 0;
  if (thread < width * runs) {
    const uint8_t* const bytes = job.labels + blockIdx.y * job.r.height * job.r.width;
    const uint32_t* const words = reinterpret_cast<const uint32_t*>(bytes);
    uint32_t at = first * width + x;
    uint32_t here = words[at], above = first > 0 ? words[at - width] : here;
    for (uint32_t y = first; y < height && y < first + kRasterRows; ++y, at += width) {
      const uint32_t below = y + 1 < height ? words[at + width] : here;
      const uint32_t before = x > 0 ? bytes[at * 4 - 1] : here & 255;
      const uint32_t after = x + 1 < width ? bytes[at * 4 + 4] : here >> 24;
      count += boundary_bytes(here, above, below, here << 8 | before, here >> 8 | after << 24);
      above = here;
      here = below;
    }
  }
  count = warp_sum(count);
  if (lane_of_warp() == 0) add(job.sums.boundary + blockIdx.y, count);
}

// Boxes of segments, masked pixels and images with bad inputs included; ids beyond the count are
// noted.
__global__ void find_boxes(const Job job) {
  const Column column(job.r);
  const int32_t* const segments = column.map(job.r, job.r.segments, job.r.segments_shared);
  for (uint32_t y = column.first; y <= column.last; ++y) {
    int64_t region = -1;
    if (column.inside) {
      const int32_t id = segments[column.at(job.r, y)];
      if (id >= job.r.region_count) raise(job.sums.segment_end + column.b, id + 1u);
      region = region_of(job.r, column.b, column.x, y);
    }
    const Reach reach = reach_of(column.x, y, job.r.width, job.r.height);
    for_each_key(region >= 0, region, [&](int64_t key, unsigned, bool mine) {
      uint32_t* total = job.sums.region_reach + (column.b * job.r.region_count + key) * 4;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const uint32_t largest = warp_max(mine ? reach.side[k] : 0);
        if (lane_of_warp() == k) raise(total + k, largest);
      }
    });
  }
}

// ---- host -------------------------------------------------------------------------------------

struct Scoring {
  void (*kernel)(Job);
  int64_t held;  // classes in registers
};

template <int32_t kDtype>
Scoring scoring_of(int64_t classes) {
  if (classes <= 8) return {score_pixels<kDtype, 1, 8>, 8};
  if (classes <= 12) return {score_pixels<kDtype, 9, 12>, 12};
  if (classes <= 16) return {score_pixels<kDtype, 13, 16>, 16};
  if (classes <= 20) return {score_pixels<kDtype, 17, 20>, 20};
  if (classes <= 24) return {score_pixels<kDtype, 21, 24>, 24};
  if (classes <= 28) return {score_pixels<kDtype, 25, 28>, 28};
  return {score_pixels<kDtype, 0, 0>, 0};
}

}  // namespace

void enqueue_pixels(const PixelJob& pixels, const Needs& needs, cudaStream_t stream) {
  const Request& r = pixels.r;
  const int64_t batch = r.logits.batch, classes = r.logits.channels;
  Job job = {pixels, 0.0f, 0};
  if (classes > 1) job.inverse_log_classes = static_cast<float>(1.0 / log(classes));
  job.window = std::min(r.region_count, kSharedRegionBytes / (kRecord * 8 + classes * 4));
  const auto run = [&](void (*kernel)(Job), size_t shared) {
    launch(kernel, raster_blocks(r), batch, kRasterThreads, shared, stream, job);
  };
  if (needs.raster) run(make_difficulty, 0);
  if (needs.statistics) {
    const Scoring scoring = r.logits.dtype == DEAL_FLOAT32   ? scoring_of<DEAL_FLOAT32>(classes)
                            : r.logits.dtype == DEAL_FLOAT16 ? scoring_of<DEAL_FLOAT16>(classes)
                                                             : scoring_of<DEAL_BFLOAT16>(classes);
    const int64_t words = block_words(classes, job.window, scoring.held);
    run(scoring.kernel, static_cast<size_t>(words) * sizeof(uint32_t));
  }
  const bool by_words = r.width % 4 == 0 && r.mask == nullptr &&
                        r.region_kind == DEAL_REGIONS_NONE &&
                        reinterpret_cast<uintptr_t>(pixels.labels) % 4 == 0;
  if (needs.boundary && by_words) {
    const int64_t threads = r.width / 4 * blocks_for(r.height, kRasterRows);
    launch(count_boundary_by_words, blocks_for(threads, kRasterThreads), batch, kRasterThreads, 0,
           stream, job);
  } else if (needs.boundary) {
    run(count_boundary, 0);
  }
  if (r.segments != nullptr) run(find_boxes, 0);
}

}  // namespace deal
