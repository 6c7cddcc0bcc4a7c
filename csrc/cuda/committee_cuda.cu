// What a committee's members disagree about, on a CUDA device.
#include "cuda/committee_cuda.h"

#include "cuda/cuda_tools.h"
#include "cuda/device_steps.h"
#include "cuda/raster_cuda.h"
#include "cpu/sums.h"

namespace deal {
namespace {

struct Job {
  Request r;
  BatchSums sums;
  Taps x, y;
  float vote_terms[DEAL_MAX_MEMBERS + 1];
};

// Sums of each field over a warp, and from there into the totals of the image and its regions.
template <int32_t kDtype>
__global__ void compare_members(const Job job) {
  if (job.sums.nonfinite[blockIdx.y] != 0) return;
  const int lane = lane_of_warp();
  int64_t image = 0;  // lane k: of field k
  const Column column(job.r);
  const uint8_t* const mask = column.mask(job.r);
  for (uint32_t y = column.first; y <= column.last; ++y) {
    const bool kept = column.kept(mask, column.at(job.r, y));
    int32_t values[kCommittee] = {};
    if (kept) {
      const PixelLogits<kDtype> logits(job.r.logits, column.b, tap_at(job.y, y),
                                       tap_at(job.x, column.x));
      committee_values(logits, job.r.logits, job.vote_terms, values);
    }
    const int64_t region = kept ? region_of(job.r, column.b, column.x, y) : -1;
    for_each_key(kept, region, [&](int64_t key, unsigned peers, bool mine) {
      int64_t total = 0;
#pragma unroll
      for (int k = 0; k < kCommittee; ++k) {
        const uint32_t sum =
            warp_sum(mine ? static_cast<uint32_t>(values[k] + kCommitteeFloor) : 0);
        if (lane == k) total = int64_t{sum} - int64_t{kCommitteeFloor} * __popc(peers);
      }
      image += total;
      if (key < 0 || lane >= kCommittee) return;
      const int64_t at = (column.b * job.r.region_count + key) * kCommittee + lane;
      add(job.sums.region_committee_sums + at, static_cast<uint64_t>(total));
    });
  }
  if (lane < kCommittee) {
    add(job.sums.committee_sums + blockIdx.y * kCommittee + lane, static_cast<uint64_t>(image));
  }
}

}  // namespace

void enqueue_committee(const Request& request, const BatchSums& sums, Taps x, Taps y,
                       cudaStream_t stream) {
  Job job = {request, sums, x, y, {}};
  for (int64_t n = 0; n <= request.logits.members; ++n) {
    job.vote_terms[n] = vote_term(n, request.logits.members);
  }
  launch(request.logits.dtype == DEAL_FLOAT32   ? compare_members<DEAL_FLOAT32>
         : request.logits.dtype == DEAL_FLOAT16 ? compare_members<DEAL_FLOAT16>
                                                : compare_members<DEAL_BFLOAT16>,
         raster_blocks(request), request.logits.batch, kRasterThreads, 0, stream, job);
}

}  // namespace deal
