#include "cpu/statistics_cpu.h"

#include <atomic>

#include "cpu/image_job.h"
#include "cpu/team.h"

namespace deal {

void CpuScorer::reserve(const Request& request) {
  Carver counter(nullptr);
  workspace_.carve(counter, request);
  memory_.grow(counter.used());
}

deal_context_counters CpuScorer::counters() const {
  deal_context_counters found = {};
  found.frames = frames_;
  found.nonfinite_frames = nonfinite_frames_;
  found.host_bytes = static_cast<int64_t>(memory_.size());
  return found;
}

void CpuScorer::score(const Request& request, const deal_output& output) {
  reserve(request);
  Carver carver(memory_.data());
  workspace_.carve(carver, request);
  workspace_.fill(request);
  const int64_t batch = request.logits.batch;
  frames_ += batch;
  if (workspace_.images_in_work(request) == 1) {
    Team team(&pool_);
    for (int64_t b = 0; b < batch; ++b) {
      const bool good =
          ImageJob(kernels_, request, output, workspace_, workspace_.images[0], b, team)
              .run(0, pool_.size());
      nonfinite_frames_ += !good;
    }
    return;
  }
  struct Shared {
    CpuScorer* self;
    const Request& request;
    const deal_output& output;
    std::atomic<int64_t> next;
  } shared{this, request, output, {0}};
  pool_.run(
      [](void* user, int slot) {
        auto& [self, request, output, next] = *static_cast<Shared*>(user);
        Team alone(slot);
        for (int64_t b = next++; b < request.logits.batch; b = next++) {
          Workspace& workspace = self->workspace_;
          const bool good =
              ImageJob(self->kernels_, request, output, workspace, workspace.images[slot], b, alone)
                  .run(slot, 1);
          self->nonfinite_frames_ += !good;
        }
      },
      &shared);
}

}  // namespace deal
