// The CUDA backend of a build without it.
#include "statistics_cuda.h"

namespace deal {

bool has_cuda() { return false; }

std::unique_ptr<CudaScorer> make_cuda_scorer(int) {
  throw DeviceError("this build has no CUDA kernels");
}

}  // namespace deal
