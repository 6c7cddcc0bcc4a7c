// How the kernels of the raster divide its pixels among blocks and threads.
#pragma once

#include <stdint.h>

#include "cuda_tools.h"
#include "plan.h"

namespace deal {
namespace {

constexpr int kRasterThreads = 256;
constexpr int kBlockPixels = 2048;
constexpr int kSteps = kBlockPixels / kRasterThreads;

// The pixel of this thread in step 0...kSteps - 1 of its block.
struct Pixel {
  int64_t b, at, x, y;
  bool inside, kept;

  __device__ Pixel(const Request& r, int step)
      : b(blockIdx.y),
        at(int64_t{blockIdx.x} * kBlockPixels + step * kRasterThreads + threadIdx.x),
        inside(at < r.height * r.width) {
    const uint32_t width = static_cast<uint32_t>(r.width);
    x = static_cast<uint32_t>(at) % width;  // the raster has less than 2^32 pixels
    y = static_cast<uint32_t>(at) / width;
    kept = inside && (mask(r) == nullptr || mask(r)[at] != 0);
  }
  __device__ const uint8_t* mask(const Request& r) const {
    return r.mask == nullptr ? nullptr : r.mask + (r.mask_shared ? 0 : b) * r.height * r.width;
  }
  __device__ int64_t in_batch(const Request& r) const { return b * r.height * r.width + at; }
};

}  // namespace
}  // namespace deal
