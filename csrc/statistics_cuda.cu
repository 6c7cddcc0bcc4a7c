// Statistics of a batch on a CUDA device: one fused pass over the logits, integer totals.
#include "statistics_cuda.h"

#include <math.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "attention_cuda.h"
#include "cuda_tools.h"
#include "device_steps.h"
#include "memory.h"
#include "needs.h"
#include "sums.h"

namespace deal {
namespace {

constexpr int kThreads = 256;
constexpr int kBlockPixels = 2048;
constexpr int64_t kSharedRegionBytes = 16384;  // regions beyond it are added to global memory
constexpr int kHistograms = 3;  // of entropy, difficulty, and on the image's own range

// Totals of a batch, all zero at first; carved alike on the device and in pinned host memory.
struct BatchSums {
  int64_t *nonfinite, *boundary;            // [B]
  uint32_t *low, *high;                     // [B]: falling and rising bits of the difficulty
  uint32_t* segment_end;                    // [B]: largest segment id beyond the count, plus one
  int64_t* class_sums;                      // [B, C, 8]
  uint32_t* hists;                          // [B, 3, 240]
  int64_t *region_sums, *region_boundary;   // [B, R, 8], [B, R]
  uint32_t *region_classes, *region_reach;  // [B, R, C], [B, R, 4]

  void carve(Carver& carver, const Request& r) {
    const int64_t batch = r.logits.batch, classes = r.logits.channels, regions = r.region_count;
    nonfinite = carver.take<int64_t>(batch);
    boundary = carver.take<int64_t>(batch);
    low = carver.take<uint32_t>(batch);
    high = carver.take<uint32_t>(batch);
    segment_end = carver.take<uint32_t>(batch);
    class_sums = carver.take<int64_t>(batch * classes * kRecord);
    hists = carver.take<uint32_t>(batch * kHistograms * kLevels);
    region_sums = carver.take<int64_t>(batch * regions * kRecord);
    region_boundary = carver.take<int64_t>(batch * regions);
    region_classes = carver.take<uint32_t>(batch * regions * classes);
    region_reach = carver.take<uint32_t>(batch * regions * 4);
  }

  // The totals of one image; boxes gives room for [R, 4].
  Sums image(const Request& r, int64_t b, int64_t* boxes) const {
    const int64_t classes = r.logits.channels, regions = r.region_count;
    Sums s = {};
    s.classes = classes;
    s.regions = regions;
    s.class_sums = class_sums + b * classes * kRecord;
    s.entropy_hist = hists + b * kHistograms * kLevels;
    s.difficulty_hist = s.entropy_hist + kLevels;
    s.image_hist = s.difficulty_hist + kLevels;
    s.region_sums = region_sums + b * regions * kRecord;
    s.region_classes = region_classes + b * regions * classes;
    s.region_boundary = region_boundary + b * regions;
    s.region_box = boxes;
    for (int64_t i = 0; i < regions; ++i) {
      const uint32_t* reach = region_reach + (b * regions + i) * 4;
      boxes[i * 4] = r.width - reach[0];
      boxes[i * 4 + 1] = r.height - reach[1];
      boxes[i * 4 + 2] = int64_t{reach[2]} - 1;
      boxes[i * 4 + 3] = int64_t{reach[3]} - 1;
    }
    s.nonfinite = nonfinite[b];
    s.boundary = boundary[b];
    s.low = from_falling(low[b]);
    s.high = from_rising(high[b]);
    return s;
  }
};

// Everything a kernel of this file reads and writes.
struct Job {
  Request r;
  BatchSums sums;
  Taps logits_x, logits_y, grid_x, grid_y;
  const float* grid;      // [B, gh, gw] before the sigmoid, NULL without difficulty
  float* difficulty_map;  // [B, H, W] or NULL
  uint8_t* labels;        // [B, H, W] or NULL
  float inverse_log_classes;
  int64_t window;  // regions that fit into shared memory
};

struct TapsJob {
  struct Axis {
    TapArrays to;
    int64_t n_in, n_out;
  } axis[6];
  bool align_corners;
};

__global__ void fill_taps(const TapsJob job) {
  const TapsJob::Axis& axis = job.axis[blockIdx.y];
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= axis.n_out) return;
  const Tap tap = tap_of(i, axis.n_in, axis.n_out, job.align_corners);
  axis.to.first[i] = tap.first;
  axis.to.second[i] = tap.second;
  axis.to.weight[i] = tap.weight;
}

// ---- inputs -----------------------------------------------------------------------------------

struct InputJob {
  TensorView tensor;
  int64_t* nonfinite;  // [B]
  float* grid;         // [B, h, w] of a given difficulty, for load_grid
};

__device__ float input_at(const TensorView& t, int64_t b, int64_t row, int64_t x) {
  const int64_t c = row / t.height, y = row % t.height;
  return load(t.data, t.dtype,
              b * t.batch_stride + c * t.channel_stride + y * t.row_stride + x * t.column_stride);
}

__global__ void count_nonfinite(const InputJob job) {
  const TensorView& t = job.tensor;
  const int64_t b = blockIdx.y;
  uint64_t bad = 0;
  for (int64_t row = blockIdx.x; row < t.channels * t.height; row += gridDim.x) {
    for (int64_t x = threadIdx.x; x < t.width; x += blockDim.x) {
      bad += is_nonfinite(input_at(t, b, row, x));
    }
  }
  add(job.nonfinite + b, bad);
}

__global__ void load_grid(const InputJob job) {
  const TensorView& t = job.tensor;
  const int64_t b = blockIdx.y, row = blockIdx.x;
  float* to = job.grid + (b * t.height + row) * t.width;
  for (int64_t x = threadIdx.x; x < t.width; x += blockDim.x) {
    to[x] = job.nonfinite[b] != 0 ? 0.0f : input_at(t, b, row, x);
  }
}

// ---- pixels -----------------------------------------------------------------------------------

// The pixel of this thread in step 0...kBlockPixels / kThreads - 1 of its block.
struct Pixel {
  int64_t b, at, x, y;
  bool inside, kept;

  __device__ Pixel(const Job& job, int step)
      : b(blockIdx.y),
        at(int64_t{blockIdx.x} * kBlockPixels + step * kThreads + threadIdx.x),
        inside(at < job.r.height * job.r.width) {
    const uint32_t width = static_cast<uint32_t>(job.r.width);
    x = static_cast<uint32_t>(at) % width;  // the raster has less than 2^32 pixels
    y = static_cast<uint32_t>(at) / width;
    kept = inside && (mask(job) == nullptr || mask(job)[at] != 0);
  }
  __device__ const uint8_t* mask(const Job& job) const {
    if (job.r.mask == nullptr) return nullptr;
    return job.r.mask + (job.r.mask_shared ? 0 : b) * job.r.height * job.r.width;
  }
  __device__ int64_t in_batch(const Job& job) const { return b * job.r.height * job.r.width + at; }
};

constexpr int kSteps = kBlockPixels / kThreads;

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
    const Pixel pixel(job, step);
    if (!pixel.inside) break;
    const float d = bad ? 0.0f : difficulty_at(job, pixel);
    if (job.difficulty_map != nullptr) job.difficulty_map[pixel.in_batch(job)] = d;
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
    const int64_t shared_label = key_label(key), shared_region = key_region(key);
    if (lane < kRecord) add(block.classes + shared_label * kRecord + lane, total);
    if (shared_region < 0 || lane > kRecord) return;
    const int64_t local = shared_region - block.window.first;
    const bool near = local >= 0 && local < block.window.count;
    const int64_t all = pixel.b * job.r.region_count + shared_region;
    if (lane < kRecord) {
      add((near ? block.regions + local * kRecord : job.sums.region_sums + all * kRecord) + lane,
          total);
    } else {
      const int64_t classes = job.r.logits.channels;
      add((near ? block.region_classes + local * classes
                : job.sums.region_classes + all * classes) +
              shared_label,
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
    Pixel pixel(job, step);
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
      job.labels[pixel.in_batch(job)] = static_cast<uint8_t>(label);
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
    const Pixel pixel(job, step);
    const uint8_t* labels = job.labels + pixel.b * job.r.height * job.r.width;
    const bool found = pixel.kept && is_boundary(labels, pixel.mask(job), pixel.x, pixel.y,
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

// Boxes of segments, masked pixels included; ids beyond the count are noted.
__global__ void find_boxes(const Job job) {
  const bool bad = is_bad(job);
  for (int step = 0; step < kSteps; ++step) {
    const Pixel pixel(job, step);
    int64_t region = -1;
    if (pixel.inside) {
      const int64_t image = job.r.segments_shared ? 0 : pixel.b;
      const int32_t id = job.r.segments[image * job.r.height * job.r.width + pixel.at];
      if (id >= job.r.region_count) raise(job.sums.segment_end + pixel.b, id + 1u);
      if (!bad) region = region_of(job.r, pixel.b, pixel.x, pixel.y);
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

// ---- host -------------------------------------------------------------------------------------

constexpr const char* kUnfinished = "the last request is not finished: call deal_finish first";

// Device memory of a request: totals first, then what the stages hand on.
struct Workspace {
  BatchSums sums;
  size_t sums_bytes;
  TapArrays logits_x, logits_y, grid_x, grid_y, cell_x, cell_y;
  CudaAttention attention;
  float* grid;      // [B, gh, gw]
  uint8_t* labels;  // [B, H, W]

  void carve(Carver& carver, const Request& r) {
    sums.carve(carver, r);
    sums_bytes = carver.used();
    logits_x.carve(carver, r.width);
    logits_y.carve(carver, r.height);
    grid_x.carve(carver, r.width);
    grid_y.carve(carver, r.height);
    cell_x.carve(carver, r.grid_width);
    cell_y.carve(carver, r.grid_height);
    attention = {};
    if (r.head != nullptr) attention.carve(carver, r);
    grid = carver.take<float>(r.logits.batch * r.grid_height * r.grid_width);
    labels = carver.take<uint8_t>(r.logits.batch * r.height * r.width);
  }
};

class Scorer : public CudaScorer {
 public:
  explicit Scorer(int device) : device_(device) {
    UseDevice use(device_);
    check(cudaEventCreateWithFlags(&done_, cudaEventDisableTiming), "event");
  }
  ~Scorer() override { cudaEventDestroy(done_); }

  void reserve(const Request& request) override {
    UseDevice use(device_);
    grow(request);
  }

  void enqueue(const Request& request, const deal_output& output, void* stream) override {
    if (in_flight_) throw std::invalid_argument(kUnfinished);
    UseDevice use(device_);
    const auto on = static_cast<cudaStream_t>(stream);
    cudaStreamCaptureStatus capture;
    check(cudaStreamIsCapturing(on, &capture), "cudaStreamIsCapturing");
    const bool capturing = capture != cudaStreamCaptureStatusNone;
    if (capturing && !fits(request)) {
      throw std::invalid_argument("deal_reserve this request before its stream is captured");
    }
    grow(request);
    Workspace w;
    Carver carver(memory_.data());
    w.carve(carver, request);
    launch_all(request, output, w, on);
    check(
        cudaMemcpyAsync(results_.data(), memory_.data(), w.sums_bytes, cudaMemcpyDeviceToHost, on),
        "copy of the totals");
    check(cudaEventRecordWithFlags(done_, on, capturing ? cudaEventRecordExternal : 0), "event");
    request_ = request;
    request_.head = nullptr;  // the caller's, and read by now
    output_ = output;
    in_flight_ = true;
  }

  // May be called again, after each replay of a captured graph.
  void finish() override {
    if (request_.logits.data == nullptr) return;
    in_flight_ = false;
    UseDevice use(device_);
    check(cudaEventSynchronize(done_), "scoring");
    BatchSums sums;
    Carver carver(results_.data());
    sums.carve(carver, request_);
    std::vector<int64_t> boxes(static_cast<size_t>(request_.region_count) * 4);
    for (int64_t b = 0; b < request_.logits.batch; ++b) {
      if (sums.segment_end[b] > 0) {
        throw std::invalid_argument("the segment map has the id " +
                                    std::to_string(sums.segment_end[b] - 1) + ", but only " +
                                    std::to_string(request_.region_count) + " regions");
      }
    }
    for (int64_t b = 0; b < request_.logits.batch; ++b) {
      write_image(request_, sums.image(request_, b, boxes.data()), b, output_);
    }
  }

 private:
  static size_t device_bytes(const Request& request, size_t* sums_bytes) {
    Carver counter(nullptr);
    Workspace w;
    w.carve(counter, request);
    *sums_bytes = w.sums_bytes;
    return counter.used();
  }
  bool fits(const Request& request) const {
    size_t sums_bytes;
    return device_bytes(request, &sums_bytes) <= memory_.size() && sums_bytes <= results_.size();
  }
  void grow(const Request& request) {
    if (fits(request)) return;
    if (in_flight_) throw std::invalid_argument(kUnfinished);
    size_t sums_bytes;
    memory_.grow(device_bytes(request, &sums_bytes));
    results_.grow(sums_bytes);
  }

  static void launch_taps(const Request& r, const Workspace& w, cudaStream_t on) {
    const TapsJob job = {{{w.logits_x, r.logits.width, r.width},
                          {w.logits_y, r.logits.height, r.height},
                          {w.grid_x, r.grid_width, r.width},
                          {w.grid_y, r.grid_height, r.height},
                          {w.cell_x, r.logits.width, r.grid_width},
                          {w.cell_y, r.logits.height, r.grid_height}},
                         r.align_corners};
    int64_t longest = 0;
    for (const auto& axis : job.axis) longest = std::max(longest, axis.n_out);
    launch(fill_taps, blocks_for(longest, kThreads), 6, kThreads, 0, on, job);
  }

  static void launch_all(const Request& r, const deal_output& out, const Workspace& w,
                         cudaStream_t on) {
    const Needs needs(r, out);
    const int64_t batch = r.logits.batch, classes = r.logits.channels;
    float* grid = out.difficulty_grid != nullptr ? out.difficulty_grid : w.grid;
    check(cudaMemsetAsync(w.sums.nonfinite, 0, w.sums_bytes, on), "memset");
    launch_taps(r, w, on);
    for (const TensorView* t : {&r.logits, &r.difficulty}) {
      if (t->data == nullptr) continue;
      const int64_t blocks = std::min<int64_t>(t->channels * t->height, 256);
      launch(count_nonfinite, blocks, batch, 128, 0, on, InputJob{*t, w.sums.nonfinite, nullptr});
    }
    if (needs.difficulty && r.difficulty.data != nullptr) {
      launch(load_grid, r.grid_height, batch, 128, 0, on,
             InputJob{r.difficulty, w.sums.nonfinite, grid});
    } else if (needs.difficulty) {
      w.attention.enqueue(r, w.cell_x.taps(), w.cell_y.taps(), w.sums.nonfinite, grid, on);
    }

    Job job = {};
    job.r = r;
    job.sums = w.sums;
    job.logits_x = w.logits_x.taps();
    job.logits_y = w.logits_y.taps();
    job.grid_x = w.grid_x.taps();
    job.grid_y = w.grid_y.taps();
    job.grid = needs.difficulty ? grid : nullptr;
    job.difficulty_map = out.difficulty_map;
    job.labels = out.class_map != nullptr ? out.class_map : needs.boundary ? w.labels : nullptr;
    job.inverse_log_classes = classes > 1 ? static_cast<float>(1.0 / log(classes)) : 0.0f;
    job.window = std::min(r.region_count, kSharedRegionBytes / (kRecord * 8 + classes * 4));
    const int64_t blocks = blocks_for(r.height * r.width, kBlockPixels);
    const size_t shared = BlockSums::bytes(classes, job.window);
    if (needs.difficulty) launch(make_difficulty, blocks, batch, kThreads, 0, on, job);
    if (needs.statistics) {
      const auto kernel = r.logits.dtype == DEAL_FLOAT32   ? score_kernel<DEAL_FLOAT32>(classes)
                          : r.logits.dtype == DEAL_FLOAT16 ? score_kernel<DEAL_FLOAT16>(classes)
                                                           : score_kernel<DEAL_BFLOAT16>(classes);
      launch(kernel, blocks, batch, kThreads, shared, on, job);
    }
    if (needs.boundary) launch(count_boundary, blocks, batch, kThreads, 0, on, job);
    if (r.segments != nullptr) launch(find_boxes, blocks, batch, kThreads, 0, on, job);
  }

  const int device_;
  CudaMemory<Where::kDevice> memory_;
  CudaMemory<Where::kPinnedHost> results_;
  cudaEvent_t done_ = nullptr;
  bool in_flight_ = false;
  Request request_ = {};
  deal_output output_ = {};
};

}  // namespace

bool has_cuda() { return true; }

std::unique_ptr<CudaScorer> make_cuda_scorer(int device_index) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    cudaGetLastError();
    throw DeviceError(std::string("no usable CUDA device (") +
                      (error == cudaSuccess ? "none found" : cudaGetErrorString(error)) +
                      "): install or update the NVIDIA driver, or score host arrays on the CPU");
  }
  if (device_index < 0 || device_index >= count) {
    throw DeviceError("CUDA device " + std::to_string(device_index) +
                      " does not exist: this machine has " + std::to_string(count));
  }
  return std::make_unique<Scorer>(device_index);
}

}  // namespace deal
