// The CUDA backend of a build without it: callers ask has_cuda() first.
#include "cuda/statistics_cuda.h"

namespace deal {
namespace {

[[noreturn]] void refuse() { throw DeviceError("this build has no CUDA kernels"); }

}  // namespace

bool has_cuda() { return false; }
std::unique_ptr<CudaScorer> make_cuda_scorer(int, int, ThreadPool::Start) { refuse(); }
int cuda_device_of(const void*) { refuse(); }
void cuda_wait(uintptr_t, uintptr_t, int) { refuse(); }

}  // namespace deal
