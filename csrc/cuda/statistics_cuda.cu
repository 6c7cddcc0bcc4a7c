// Runs requests on a CUDA device: memory, order of the stages, and the tables at the end.
#include "cuda/statistics_cuda.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "cuda/attention_cuda.h"
#include "cuda/batch_sums.h"
#include "cuda/committee_cuda.h"
#include "cpu/contours_batch.h"
#include "cuda/cuda_tools.h"
#include "cuda/device_steps.h"
#include "cpu/memory.h"
#include "cpu/tap_arrays.h"
#include "abi/columns.h"
#include "abi/needs.h"
#include "cuda/pixels_cuda.h"

namespace deal {
namespace {

constexpr int kThreads = 128;

// ---- positions and inputs ---------------------------------------------------------------------

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

struct InputJob {
  TensorView tensor;
  int64_t* nonfinite;  // [B]
  float* grid;         // [B, h, w] of a given difficulty, for load_grid
};

__device__ int64_t offset_of(const TensorView& t, int64_t b, int64_t row, int64_t x) {
  const int64_t plane = row / t.height, y = row % t.height;  // planes [members, channels]
  return plane / t.channels * t.member_stride + b * t.batch_stride +
         plane % t.channels * t.channel_stride + y * t.row_stride + x * t.column_stride;
}

__global__ void count_nonfinite(const InputJob job) {
  const TensorView& t = job.tensor;
  const int64_t b = blockIdx.y;
  uint64_t bad = 0;
  for (int64_t row = blockIdx.x; row < t.members * t.channels * t.height; row += gridDim.x) {
    for (int64_t x = threadIdx.x; x < t.width; x += blockDim.x) {
      bad += is_nonfinite(load_raw(t.data, t.dtype, offset_of(t, b, row, x)));
    }
  }
  add(job.nonfinite + b, bad);
}

__global__ void load_grid(const InputJob job) {
  const TensorView& t = job.tensor;
  const int64_t b = blockIdx.y, row = blockIdx.x;
  float* to = job.grid + (b * t.height + row) * t.width;
  for (int64_t x = threadIdx.x; x < t.width; x += blockDim.x) {
    to[x] = job.nonfinite[b] != 0 ? 0.0f : load(t.data, t.dtype, offset_of(t, b, row, x));
  }
}

// ---- host -------------------------------------------------------------------------------------

constexpr const char* kUnfinished = "the last request is not finished: call deal_finish first";

// Device memory of a request: totals first, then what the stages hand on.
struct Workspace {
  BatchSums sums;
  size_t sums_bytes;
  TapArrays logits_x, logits_y, grid_x, grid_y, cell_x, cell_y;
  CudaAttention attention;
  float* grid;        // [B, gh, gw]
  float* difficulty;  // [B, H, W]
  uint8_t* labels;    // [B, H, W]

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
    const int64_t pixels = r.logits.batch * r.height * r.width;
    difficulty = carver.take<float>(r.has_difficulty() ? pixels : 0);
    labels = carver.take<uint8_t>(pixels);
  }
};

// What tracing lines needs on the host, after the totals in pinned memory.
struct HostCopies {
  uint8_t *labels, *mask;  // [B, H, W], and [1 or B, H, W]
  int32_t* segments;       // [1 or B, H, W]

  static int64_t pixels(const Request& r, bool shared) {
    return (shared ? 1 : r.logits.batch) * r.height * r.width;
  }
  void carve(Carver& carver, const Request& r) {
    labels = carver.take<uint8_t>(pixels(r, false));
    mask = carver.take<uint8_t>(r.mask != nullptr ? pixels(r, r.mask_shared) : 0);
    segments = carver.take<int32_t>(r.segments != nullptr ? pixels(r, r.segments_shared) : 0);
  }
};

class Scorer : public CudaScorer {
 public:
  Scorer(int device, int threads, ThreadPool::Start start)
      : device_(device), contours_(threads, start) {
    UseDevice use(device_);
    done_.create();
  }
  ~Scorer() override {
    if (in_flight_) cudaEventSynchronize(done_.get());  // before its memory goes
  }

  void reserve(const Request& request) override {
    UseDevice use(device_);
    grow(request);
  }

  void enqueue(const Request& request, const deal_output& output, void* stream) override {
    if (in_flight_) throw std::invalid_argument(kUnfinished);
    request_ = {};  // should this one fail, there is nothing to finish
    UseDevice use(device_);
    const auto on = static_cast<cudaStream_t>(stream);
    cudaStreamCaptureStatus capture;
    check(cudaStreamIsCapturing(on, &capture), "cudaStreamIsCapturing");
    const bool capturing = capture != cudaStreamCaptureStatusNone;
    if (capturing && !fits(request)) {
      throw std::invalid_argument("score this request once before its stream is captured");
    }
    grow(request);
    Workspace w;
    Carver carver(memory_.data());
    w.carve(carver, request);
    uint8_t* const labels = output.class_map != nullptr ? output.class_map : w.labels;
    launch_all(request, output, w, labels, on);
    copy_to_host(results_.data(), memory_.data(), w.sums_bytes, on);
    if (asks_for(output, Part::contours)) {
      Carver host(results_.data() + w.sums_bytes);
      HostCopies copies;
      copies.carve(host, request);
      const auto pixels = [&](bool shared) {
        return static_cast<size_t>(HostCopies::pixels(request, shared));
      };
      copy_to_host(copies.labels, labels, pixels(false), on);
      if (request.mask != nullptr) {
        copy_to_host(copies.mask, request.mask, pixels(request.mask_shared), on);
      }
      if (request.segments != nullptr) {
        copy_to_host(copies.segments, request.segments,
                     pixels(request.segments_shared) * sizeof(int32_t), on);
      }
    }
    check(cudaEventRecordWithFlags(done_.get(), on, capturing ? cudaEventRecordExternal : 0),
          "event");
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
    check(cudaEventSynchronize(done_.get()), "scoring");
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
    if (asks_for(output_, Part::contours)) {
      HostCopies copies;
      copies.carve(carver, request_);
      Request on_host = request_;
      if (request_.mask != nullptr) on_host.mask = copies.mask;
      if (request_.segments != nullptr) on_host.segments = copies.segments;
      contours_.write(on_host, copies.labels, sums.nonfinite, output_);
    }
    frames_ += request_.logits.batch;
    for (int64_t b = 0; b < request_.logits.batch; ++b) nonfinite_ += sums.nonfinite[b] != 0;
  }

  deal_context_counters counters() const override {
    deal_context_counters found = {};
    found.frames = frames_;
    found.nonfinite_frames = nonfinite_;
    found.host_bytes = static_cast<int64_t>(results_.size() + contours_.bytes());
    found.device_bytes = static_cast<int64_t>(memory_.size());
    return found;
  }

 private:
  struct Sizes {
    size_t device, host;
    explicit Sizes(const Request& request) {
      Carver counter(nullptr), host_counter(nullptr);
      Workspace w;
      w.carve(counter, request);
      HostCopies copies;
      copies.carve(host_counter, request);
      device = counter.used();
      host = w.sums_bytes + host_counter.used();
    }
  };
  bool fits(const Request& request) const {
    const Sizes needed(request);
    return needed.device <= memory_.size() && needed.host <= results_.size();
  }
  void grow(const Request& request) {
    contours_.reserve(request);
    if (fits(request)) return;
    if (in_flight_) throw std::invalid_argument(kUnfinished);
    const Sizes needed(request);
    memory_.grow(needed.device);
    results_.grow(needed.host);
  }

  static void copy_to_host(void* to, const void* from, size_t bytes, cudaStream_t on) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, on), "copy to the host");
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
                         uint8_t* labels, cudaStream_t on) {
    const Needs needs(r, out);
    const int64_t batch = r.logits.batch;
    float* grid = out.difficulty_grid != nullptr ? out.difficulty_grid : w.grid;
    check(cudaMemsetAsync(w.sums.nonfinite, 0, w.sums_bytes, on), "memset");
    launch_taps(r, w, on);
    for (const TensorView* t : {&r.logits, &r.difficulty}) {
      if (t->data == nullptr) continue;
      const int64_t blocks = std::min<int64_t>(t->members * t->channels * t->height, 256);
      launch(count_nonfinite, blocks, batch, kThreads, 0, on,
             InputJob{*t, w.sums.nonfinite, nullptr});
    }
    if (needs.difficulty && r.difficulty.data != nullptr) {
      launch(load_grid, r.grid_height, batch, kThreads, 0, on,
             InputJob{r.difficulty, w.sums.nonfinite, grid});
    } else if (needs.difficulty) {
      w.attention.enqueue(r, w.cell_x.taps(), w.cell_y.taps(), w.sums.nonfinite, grid, on);
    }

    PixelJob job = {};
    job.r = r;
    job.sums = w.sums;
    job.logits_x = w.logits_x.taps();
    job.logits_y = w.logits_y.taps();
    job.grid_x = w.grid_x.taps();
    job.grid_y = w.grid_y.taps();
    job.grid = needs.difficulty ? grid : nullptr;
    job.difficulty = out.difficulty_map != nullptr ? out.difficulty_map : w.difficulty;
    job.labels = out.class_map != nullptr || needs.boundary || needs.contours ? labels : nullptr;
    enqueue_pixels(job, needs, on);
    if (needs.committee) enqueue_committee(r, w.sums, job.logits_x, job.logits_y, on);
  }

  const int device_;
  CudaMemory<Where::kDevice> memory_;
  CudaMemory<Where::kPinnedHost> results_;
  BatchContours contours_;
  Event done_;
  bool in_flight_ = false;
  int64_t frames_ = 0, nonfinite_ = 0;
  Request request_ = {};
  deal_output output_ = {};
};

int count_devices() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0) return count;
  cudaGetLastError();
  throw DeviceError(std::string("no usable CUDA device (") +
                    (error == cudaSuccess ? "none found" : cudaGetErrorString(error)) +
                    "): install or update the NVIDIA driver, or score host arrays on the CPU");
}

// A build has code for some GPUs only: said when a device is taken, not at the first launch.
void check_code(int device) {
  UseDevice use(device);
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, fill_taps);
  if (error != cudaErrorNoKernelImageForDevice && error != cudaErrorInvalidDeviceFunction) {
    check(error, "cudaFuncGetAttributes");
    return;
  }
  cudaGetLastError();
  cudaDeviceProp p;
  check(cudaGetDeviceProperties(&p, device), "cudaGetDeviceProperties");
  throw DeviceError("this build of deal has no code for " + std::string(p.name) +
                    ": install deal-score again from source with DEAL_CUDA_ARCHS=" +
                    std::to_string(10 * p.major + p.minor));
}

}  // namespace

bool has_cuda() { return true; }

std::unique_ptr<CudaScorer> make_cuda_scorer(int device_index, int threads,
                                             ThreadPool::Start start) {
  const int count = count_devices();
  if (device_index < 0 || device_index >= count) {
    throw DeviceError("CUDA device " + std::to_string(device_index) +
                      " does not exist: this machine has " + std::to_string(count));
  }
  check_code(device_index);
  return std::make_unique<Scorer>(device_index, threads, start);
}

int cuda_device_of(const void* memory) {
  count_devices();
  cudaPointerAttributes attributes;
  check(cudaPointerGetAttributes(&attributes, memory), "cudaPointerGetAttributes");
  return attributes.device;
}

void cuda_wait(uintptr_t before, uintptr_t after, int device_index) {
  UseDevice use(device_index);
  Event event;
  event.create();
  check(cudaEventRecord(event.get(), reinterpret_cast<cudaStream_t>(before)), "event");
  check(cudaStreamWaitEvent(reinterpret_cast<cudaStream_t>(after), event.get(), 0), "event");
}

}  // namespace deal
