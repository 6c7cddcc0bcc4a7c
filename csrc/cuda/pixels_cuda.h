// Launches the stages that go over the pixels of the raster.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>

#include "cuda/batch_sums.h"
#include "pixel/records.h"
#include "abi/needs.h"
#include "abi/request.h"

namespace deal {

struct PixelJob {
  Request r;
  BatchSums sums;
  Taps logits_x, logits_y, grid_x, grid_y;
  const float* grid;  // [B, gh, gw] before the sigmoid, NULL without difficulty
  float* difficulty;  // [B, H, W]
  uint8_t* labels;    // [B, H, W] or NULL
};

// After the count of bad inputs and the grid: difficulty and its range, statistics, boundaries,
// boxes of segments.
void enqueue_pixels(const PixelJob& job, const Needs& needs, cudaStream_t stream);

}  // namespace deal
