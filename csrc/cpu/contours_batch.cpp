#include "cpu/contours_batch.h"

#include <algorithm>

namespace deal {

void BatchContours::carve(Carver& carver, const Request& r) {
  const bool cells = r.region_kind == DEAL_REGIONS_GRID;
  grid_columns_ = carver.take<int32_t>(cells ? r.width : 0);
  const int slots = in_work_.size() == 1 ? pool_.size() : 1;
  for (Contours& contours : in_work_) contours.carve(carver, r, slots);
}

void BatchContours::reserve(const Request& request) {
  const auto threads = static_cast<int64_t>(pool_.size());
  in_work_.resize(static_cast<size_t>(std::min(threads, request.logits.batch)));
  Carver counter(nullptr);
  carve(counter, request);
  memory_.grow(counter.used());
}

void BatchContours::write(const Request& r, const uint8_t* labels, const int64_t* nonfinite,
                          const deal_output& output) {
  reserve(r);
  Carver carver(memory_.data());
  carve(carver, r);
  for (int64_t x = 0; r.region_kind == DEAL_REGIONS_GRID && x < r.width; ++x) {
    grid_columns_[x] = static_cast<int32_t>(x / r.region_cell);
  }
  const auto workers = static_cast<int64_t>(in_work_.size());
  const auto write_every = [&](int64_t first, Team& team, int slot) {
    for (int64_t b = first; b < r.logits.batch; b += workers) {
      write_image(r, labels, b, nonfinite[b] == 0, in_work_[static_cast<size_t>(first)], team, slot,
                  output);
    }
  };
  Team team(&pool_);
  if (workers == 1) return write_every(0, team, 0);  // the threads share its rows
  team.run(workers, 1, [&](int64_t begin, int64_t end, int slot) {
    Team alone(slot);
    for (int64_t first = begin; first < end; ++first) write_every(first, alone, slot);
  });
}

void BatchContours::write_image(const Request& r, const uint8_t* labels, int64_t b, bool good,
                                Contours& contours, Team& team, int slot,
                                const deal_output& output) {
  if (good) {
    const ClassMap map = {r, b, labels + b * r.height * r.width, r.width, grid_columns_};
    contours.trace(map, team, slot);
  }
  contours.write(output, b, good);
}

}  // namespace deal
