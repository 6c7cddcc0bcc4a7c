// How the kernels of the raster divide its pixels among blocks and threads.
#pragma once

#include <stdint.h>

#include "cuda/cuda_tools.h"
#include "abi/request.h"

namespace deal {
namespace {

constexpr int kRasterThreads = 128;
constexpr int kRasterRows = 16;

// The column of this thread, in the rows first...last of its block. Threads beyond the raster
// are not `inside`; they do what the last one does, and add nothing.
struct Column {
  int64_t b;
  uint32_t x, first, last;
  bool inside, any_inside;  // this thread, any of its warp

  __device__ explicit Column(const Request& r) : b(blockIdx.y) {
    const uint32_t width = static_cast<uint32_t>(r.width), height = static_cast<uint32_t>(r.height);
    const uint32_t across = (width + kRasterThreads - 1) / kRasterThreads;
    x = blockIdx.x % across * kRasterThreads + threadIdx.x;
    inside = x < width;
    any_inside = x - lane_of_warp() < width;
    x = inside ? x : width - 1;
    first = blockIdx.x / across * kRasterRows;
    last = (first + kRasterRows < height ? first + kRasterRows : height) - 1;
  }
  // Where the column is in row y of a map [H, W]: the raster has less than 2^32 pixels.
  __device__ uint32_t at(const Request& r, uint32_t y) const {
    return y * static_cast<uint32_t>(r.width) + x;
  }
  // The map of this image among [B, H, W], or the one [H, W] that all share; NULL stays NULL.
  template <class T>
  __device__ T* map(const Request& r, T* maps, bool shared = false) const {
    return maps == nullptr || shared ? maps : maps + b * r.height * r.width;
  }
  // Zeros in the map of an image with bad inputs, if there is one.
  template <class T>
  __device__ void fill(const Request& r, T* map) const {
    for (uint32_t y = first; map != nullptr && inside && y <= last; ++y) map[at(r, y)] = 0;
  }
  __device__ const uint8_t* mask(const Request& r) const { return map(r, r.mask, r.mask_shared); }
  __device__ bool kept(const uint8_t* mask, uint32_t at) const {
    return inside && (mask == nullptr || mask[at] != 0);
  }
};

// Blocks an image for kernels of columns.
inline int64_t raster_blocks(const Request& r) {
  return blocks_for(r.width, kRasterThreads) * blocks_for(r.height, kRasterRows);
}

}  // namespace
}  // namespace deal
