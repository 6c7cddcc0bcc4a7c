// Prints how many 2^x in float32 the GPU's special function units compute, in 1e12 a second: nine
// times one a line. Sixteen independent chains a thread keep them busy.
#include <cuda_runtime.h>
#include <stdio.h>

namespace {

constexpr int kChains = 16, kSteps = 4096, kThreads = 256, kBlocksOfOne = 8, kTimes = 9;

__global__ void exponentials(float* out, float start) {
  float x[kChains];
#pragma unroll
  for (int k = 0; k < kChains; ++k) x[k] = start + 1e-3f * static_cast<float>(k + threadIdx.x);
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int k = 0; k < kChains; ++k) asm volatile("ex2.approx.ftz.f32 %0, %0;" : "+f"(x[k]));
  }
  float sum = 0.0f;
#pragma unroll
  for (int k = 0; k < kChains; ++k) sum += x[k];
  out[blockIdx.x * kThreads + threadIdx.x] = sum;
}

bool failed(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return false;
  fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  return true;
}

}  // namespace

int main() {
  cudaDeviceProp device;
  if (failed(cudaGetDeviceProperties(&device, 0), "device")) return 1;
  const int blocks = device.multiProcessorCount * kBlocksOfOne;
  float* out = nullptr;
  cudaEvent_t start, end;
  if (failed(cudaMalloc(&out, sizeof(float) * blocks * kThreads), "memory")) return 1;
  if (failed(cudaEventCreate(&start), "event") || failed(cudaEventCreate(&end), "event")) return 1;
  for (int i = -3; i < kTimes; ++i) {
    cudaEventRecord(start);
    exponentials<<<blocks, kThreads>>>(out, -1.0f);
    cudaEventRecord(end);
    if (failed(cudaGetLastError(), "launch") || failed(cudaEventSynchronize(end), "run")) return 1;
    float ms = 0.0f;
    if (failed(cudaEventElapsedTime(&ms, start, end), "time")) return 1;
    const double count = 1.0 * blocks * kThreads * kChains * kSteps;
    if (i >= 0) printf("%.6g\n", count / ms * 1e-9);
  }
  return 0;
}
