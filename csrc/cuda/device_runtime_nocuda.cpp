// The device runtime of a build without CUDA: there is none.
#include "cuda/device_runtime.h"

#include "cuda/statistics_cuda.h"

namespace deal {

const DeviceRuntime& device_runtime() {
  throw DeviceError(
      "this build of deal has no CUDA: install it again from source where nvcc is on PATH, with "
      "DEAL_CUDA=1");
}

}  // namespace deal
