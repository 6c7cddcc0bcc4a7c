#include "cpu/statistics_cpu.h"

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
  const auto score_image = [&](int64_t b, ImageWorkspace& image, Team& team, int first, int count) {
    const bool good =
        ImageJob(kernels_, request, output, workspace_, image, b, team).run(first, count);
    nonfinite_frames_ += !good;
  };
  Team team(&pool_);
  if (workspace_.images_in_work(request) == 1) {
    for (int64_t b = 0; b < batch; ++b) {
      score_image(b, workspace_.images[0], team, 0, pool_.size());
    }
    return;
  }
  team.run(batch, 1, [&](int64_t begin, int64_t end, int slot) {
    Team alone(slot);
    for (int64_t b = begin; b < end; ++b) score_image(b, workspace_.images[slot], alone, slot, 1);
  });
}

}  // namespace deal
