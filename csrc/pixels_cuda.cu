// Statistics of a batch on a CUDA device: one fused pass over the logits, integer totals.
#include "pixels_cuda.h"

#include <math.h>

#include <algorithm>

#include "cuda_tools.h"
#include "device_steps.h"
#include "raster_cuda.h"

namespace deal {
namespace {

constexpr int kThreads = kRasterThreads;
constexpr int64_t kSharedRegionBytes = 16384;  // regions beyond it are added to global memory

struct Job : PixelJob {
  float inverse_log_classes;
  int64_t window;  // regions that fit into shared memory
};

__device__ bool is_bad(const Job& job) { return job.sums.nonfinite[blockIdx.y] != 0; }

__device__ float difficulty_at(const Job& job, const Pixel& pixel) {
  const Corners corners(tap_at(job.grid_y, pixel.y), tap_at(job.grid_x, pixel.x), job.r.grid_width,
                        1);
  const int64_t image = pixel.b * job.r.grid_height * job.r.grid_width;
  return sigmoid(sample(reinterpret_cast<const char*>(job.grid), DEAL_FLOAT32, image, corners));
}

// The range of the difficulty over the unmasked pixels, and the map if it is asked for.
__global__ void make_difficulty(const Job job) {
  const bool bad = is_bad(job);
  uint32_t low = 0, high = 0;
  for (int step = 0; step < kSteps; ++step) {
    const Pixel pixel(job.r, step);
    if (!pixel.inside) break;
    const float d = bad ? 0.0f : difficulty_at(job, pixel);
    if (job.difficulty_map != nullptr) job.difficulty_map[pixel.in_batch(job.r)] = d;
    if (pixel.kept && !bad) {
      low = larger(low, falling_bits(d));
      high = larger(high, rising_bits(d));
    }
  }
  low = warp_max(low);
  high = warp_max(high);
  if (lane_of_warp() == 0) {
    raise(job.sums.low + blockIdx.y, low);
    raise(job.sums.high + blockIdx.y, high);
  }
}

// Totals of one block in shared memory: of its classes, and of the regions of a window.
struct BlockSums {
  int64_t *classes, *regions;        // [C, 8], [window, 8]
  uint32_t *hists, *region_classes;  // [3, 240], [window, C]
  RegionWindow window;

  static size_t bytes(int64_t classes, int64_t regions) {
    return static_cast<size_t>((classes + regions) * kRecord * 8 +
                               (kHistograms * kLevels + regions * classes) * 4);
  }
  __device__ BlockSums(const Job& job)
      : classes(deal_block_memory), regions(classes + job.r.logits.channels * kRecord) {
    const int64_t pixels = job.r.height * job.r.width;
    const int64_t begin = int64_t{blockIdx.x} * kBlockPixels;
    const int64_t end = begin + kBlockPixels < pixels ? begin + kBlockPixels : pixels;
    window = region_window(job.r, begin, end, job.window);
    hists = reinterpret_cast<uint32_t*>(regions + job.window * kRecord);
    region_classes = hists + kHistograms * kLevels;
  }

  // Calls fn(here, total, n) for each array and the array it is added to.
  template <class Fn>
  __device__ void for_each_array(const Job& job, Fn&& fn) const {
    const int64_t c = job.r.logits.channels, b = blockIdx.y;
    const int64_t region = b * job.r.region_count + window.first;
    fn(classes, job.sums.class_sums + b * c * kRecord, c * kRecord);
    fn(hists, job.sums.hists + b * kHistograms * kLevels, int64_t{kHistograms * kLevels});
    fn(regions, job.sums.region_sums + region * kRecord, window.count * kRecord);
    fn(region_classes, job.sums.region_classes + region * c, window.count * c);
  }
};

// Adds the pixels of a warp to the totals of their labels and regions. Lane k adds field k; the
// lane after the last field counts the labels of a region.
__device__ void add_records(const Job& job, const BlockSums& block, const Pixel& pixel,
                            int32_t label, const int32_t (&record)[kRecord]) {
  const int64_t region = pixel.kept ? region_of(job.r, pixel.b, pixel.x, pixel.y) : -1;
  for_each_key(pixel.kept, join_key(region, label), [&](int64_t key, unsigned peers, bool mine) {
    const int lane = lane_of_warp();
    uint32_t total = lane == kRecord ? __popc(peers) : 0;
#pragma unroll
    for (int k = 0; k < kRecord; ++k) {
      const uint32_t sum = warp_sum(mine ? static_cast<uint32_t>(record[k]) : 0);
      if (lane == k) total = sum;
    }
    const int64_t of_label = key_label(key), of_region = key_region(key);
    if (lane < kRecord) add(block.classes + of_label * kRecord + lane, total);
    if (of_region < 0 || lane > kRecord) return;
    const int64_t local = of_region - block.window.first;
    const bool near = local >= 0 && local < block.window.count;
    const int64_t all = pixel.b * job.r.region_count + of_region;
    if (lane < kRecord) {
      add((near ? block.regions + local * kRecord : job.sums.region_sums + all * kRecord) + lane,
          total);
    } else {
      const int64_t classes = job.r.logits.channels;
      add((near ? block.region_classes + local * classes
                : job.sums.region_classes + all * classes) +
              of_label,
          total);
    }
  });
}

template <int32_t kDtype, int32_t kHeld>
__global__ void score_pixels(const Job job) {
  const bool bad = is_bad(job);
  const BlockSums block(job);
  block.for_each_array(job, [](auto* here, auto*, int64_t n) {
    for (int64_t i = threadIdx.x; i < n; i += kThreads) here[i] = 0;
  });
  __syncthreads();
  const float low = from_falling(job.sums.low[blockIdx.y]);
  const float high = from_rising(job.sums.high[blockIdx.y]);
  const int32_t classes = static_cast<int32_t>(job.r.logits.channels);
  for (int step = 0; step < kSteps; ++step) {
    Pixel pixel(job.r, step);
    int32_t label = 0, record[kRecord] = {};
    if (pixel.inside && !bad) {
      const PixelLogits<kDtype> logits(job.r.logits, pixel.b, tap_at(job.logits_y, pixel.y),
                                       tap_at(job.logits_x, pixel.x));
      const Uncertainty<float> u = score_pixel<kHeld>(logits, classes, &label);
      const float d = job.grid != nullptr ? difficulty_at(job, pixel) : 0.0f;
      make_record(u, d, record);
      if (pixel.kept) {
        add(block.hists + level_of(u.entropy * job.inverse_log_classes), 1u);
        if (job.grid != nullptr) {
          add(block.hists + kLevels + level_of(d), 1u);
          add(block.hists + 2 * kLevels + image_level(d, low, high), 1u);
        }
      }
    }
    if (pixel.inside && job.labels != nullptr) {
      job.labels[pixel.in_batch(job.r)] = static_cast<uint8_t>(label);
    }
    pixel.kept = pixel.kept && !bad;
    add_records(job, block, pixel, label, record);
  }
  __syncthreads();
  block.for_each_array(job, [](auto* here, auto* total, int64_t n) {
    for (int64_t i = threadIdx.x; i < n; i += kThreads) add(total + i, here[i]);
  });
}

// Boundary pixels of the image and of its regions, from the finished labels.
__global__ void count_boundary(const Job job) {
  if (is_bad(job)) return;
  uint32_t count = 0;
  for (int step = 0; step < kSteps; ++step) {
    const Pixel pixel(job.r, step);
    const uint8_t* labels = job.labels + pixel.b * job.r.height * job.r.width;
    const bool found = pixel.kept && is_boundary(labels, pixel.mask(job.r), pixel.x, pixel.y,
                                                 job.r.width, job.r.height);
    count += found;
    const int64_t region = found ? region_of(job.r, pixel.b, pixel.x, pixel.y) : -1;
    for_each_key(region >= 0, region, [&](int64_t key, unsigned peers, bool) {
      if (lane_of_warp() != 0) return;
      add(job.sums.region_boundary + pixel.b * job.r.region_count + key, __popc(peers));
    });
  }
  count = warp_sum(count);
  if (lane_of_warp() == 0) add(job.sums.boundary + blockIdx.y, count);
}

// Boxes of segments, masked pixels and images with bad inputs included; ids beyond the count are
// noted.
__global__ void find_boxes(const Job job) {
  for (int step = 0; step < kSteps; ++step) {
    const Pixel pixel(job.r, step);
    int64_t region = -1;
    if (pixel.inside) {
      const int64_t image = job.r.segments_shared ? 0 : pixel.b;
      const int32_t id = job.r.segments[image * job.r.height * job.r.width + pixel.at];
      if (id >= job.r.region_count) raise(job.sums.segment_end + pixel.b, id + 1u);
      region = region_of(job.r, pixel.b, pixel.x, pixel.y);
    }
    const Reach reach = reach_of(pixel.x, pixel.y, job.r.width, job.r.height);
    for_each_key(region >= 0, region, [&](int64_t key, unsigned, bool mine) {
      uint32_t* total = job.sums.region_reach + (pixel.b * job.r.region_count + key) * 4;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const uint32_t largest = warp_max(mine ? reach.side[k] : 0);
        if (lane_of_warp() == k) raise(total + k, largest);
      }
    });
  }
}

template <int32_t kDtype>
void (*score_kernel(int64_t classes))(Job) {
  return classes <= 16   ? score_pixels<kDtype, 16>
         : classes <= 32 ? score_pixels<kDtype, 32>
                         : score_pixels<kDtype, 0>;
}

}  // namespace

void enqueue_pixels(const PixelJob& pixels, const Needs& needs, cudaStream_t stream) {
  const Request& r = pixels.r;
  const int64_t batch = r.logits.batch, classes = r.logits.channels;
  Job job = {pixels, 0.0f, 0};
  if (classes > 1) job.inverse_log_classes = static_cast<float>(1.0 / log(classes));
  job.window = std::min(r.region_count, kSharedRegionBytes / (kRecord * 8 + classes * 4));
  const int64_t blocks = blocks_for(r.height * r.width, kBlockPixels);
  const auto run = [&](void (*kernel)(Job), size_t shared) {
    launch(kernel, blocks, batch, kThreads, shared, stream, job);
  };
  if (needs.difficulty) run(make_difficulty, 0);
  if (needs.statistics) {
    run(r.logits.dtype == DEAL_FLOAT32   ? score_kernel<DEAL_FLOAT32>(classes)
        : r.logits.dtype == DEAL_FLOAT16 ? score_kernel<DEAL_FLOAT16>(classes)
                                         : score_kernel<DEAL_BFLOAT16>(classes),
        BlockSums::bytes(classes, job.window));
  }
  if (needs.boundary) run(count_boundary, 0);
  if (r.segments != nullptr) run(find_boxes, 0);
}

}  // namespace deal
