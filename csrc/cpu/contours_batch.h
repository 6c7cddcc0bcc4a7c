// Boundary lines of a batch from class maps that a device computed, on threads of the CPU.
#pragma once

#include <stdint.h>

#include <vector>

#include "cpu/contours.h"
#include "abi/deal.h"
#include "cpu/memory.h"
#include "abi/request.h"
#include "cpu/team.h"
#include "cpu/thread_pool.h"

namespace deal {

class BatchContours {
 public:
  BatchContours(int threads, ThreadPool::Start start) : pool_(threads, start) {}

  size_t bytes() const { return memory_.size(); }

  void reserve(const Request& request);
  // Labels [B, H, W], mask and segments of the request: on the host. Counts of bad inputs [B].
  void write(const Request& request, const uint8_t* labels, const int64_t* nonfinite,
             const deal_output& output);

 private:
  void carve(Carver& carver, const Request& request);
  void write_image(const Request& request, const uint8_t* labels, int64_t b, bool good,
                   Contours& contours, Team& team, int slot, const deal_output& output);

  ThreadPool pool_;
  Block64 memory_;
  std::vector<Contours> in_work_;  // one an image in work
  int32_t* grid_columns_ = nullptr;
};

}  // namespace deal
