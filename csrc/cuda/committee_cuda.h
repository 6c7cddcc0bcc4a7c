// Launches the stage that compares the members of a committee.
#pragma once

#include <cuda_runtime.h>

#include "cuda/batch_sums.h"
#include "pixel/records.h"
#include "abi/request.h"

namespace deal {

// After the count of bad inputs; x and y are the positions of the raster among the logits.
void enqueue_committee(const Request& request, const BatchSums& sums, Taps x, Taps y,
                       cudaStream_t stream);

}  // namespace deal
