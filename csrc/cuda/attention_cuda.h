// Launches the attention of a batch on a CUDA device; arithmetic in device_steps.h.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>

#include "pixel/records.h"
#include "cpu/memory.h"
#include "abi/request.h"

namespace deal {

struct CudaAttention {
  float* p;             // [B, C, cells]
  float* value;         // [B, cells]  v
  float* u;             // [B, cells]  v moved and scaled to 0...1
  float* moments;       // [B, chunks, 2, terms], polynomial only
  float* coefficients;  // [B, terms, 2], polynomial only

  void carve(Carver& carver, const Request& request);

  // Fills grid [B, gh, gw] with the difficulty before the sigmoid, 0 for images with nonfinite [B]
  // inputs. Taps lead from the logits to the attention grid.
  void enqueue(const Request& request, Taps x, Taps y, const int64_t* nonfinite, float* grid,
               cudaStream_t stream) const;
};

}  // namespace deal
