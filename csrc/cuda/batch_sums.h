// Integer totals of a batch, as a CUDA device sums them up.
#pragma once

#include <stdint.h>

#include "cuda/device_steps.h"
#include "cpu/memory.h"
#include "abi/request.h"
#include "cpu/sums.h"

namespace deal {

constexpr int kHistograms = 3;  // of entropy, of difficulty, of it on the image's own range

// All zero at first; carved alike on the device and in pinned host memory.
struct BatchSums {
  int64_t *nonfinite, *boundary;            // [B]
  uint32_t *low, *high;                     // [B]: falling and rising bits of the difficulty
  uint32_t* segment_end;                    // [B]: largest segment id beyond the count, plus one
  int64_t* class_sums;                      // [B, C, 8]
  uint32_t* hists;                          // [B, 3, 240]
  int64_t *region_sums, *region_boundary;   // [B, R, 8], [B, R]
  uint32_t *region_classes, *region_reach;  // [B, R, C], [B, R, 4]
  int64_t committee_fields;                 // kCommittee, or 0 without a committee
  int64_t *committee_sums, *region_committee_sums;  // [B, fields], [B, R, fields]

  void carve(Carver& carver, const Request& r) {
    const int64_t batch = r.logits.batch, classes = r.logits.channels, regions = r.region_count;
    carver.fence(false);  // they are set to zero and copied as one
    nonfinite = carver.take<int64_t>(batch);
    boundary = carver.take<int64_t>(batch);
    low = carver.take<uint32_t>(batch);
    high = carver.take<uint32_t>(batch);
    segment_end = carver.take<uint32_t>(batch);
    class_sums = carver.take<int64_t>(batch * classes * kRecord);
    hists = carver.take<uint32_t>(batch * kHistograms * kLevels);
    region_sums = carver.take<int64_t>(batch * regions * kRecord);
    region_boundary = carver.take<int64_t>(batch * regions);
    region_classes = carver.take<uint32_t>(batch * regions * classes);
    region_reach = carver.take<uint32_t>(batch * regions * 4);
    committee_fields = r.logits.members > 1 ? kCommittee : 0;
    committee_sums = carver.take<int64_t>(batch * committee_fields);
    region_committee_sums = carver.take<int64_t>(batch * regions * committee_fields);
    carver.fence(true);
  }

  // The totals of one image; boxes gives room for [R, 4].
  Sums image(const Request& r, int64_t b, int64_t* boxes) const {
    const int64_t classes = r.logits.channels, regions = r.region_count;
    Sums s = {};
    s.classes = classes;
    s.regions = regions;
    s.class_sums = class_sums + b * classes * kRecord;
    s.entropy_hist = hists + b * kHistograms * kLevels;
    s.difficulty_hist = s.entropy_hist + kLevels;
    s.image_hist = s.difficulty_hist + kLevels;
    s.region_sums = region_sums + b * regions * kRecord;
    s.region_classes = region_classes + b * regions * classes;
    s.region_boundary = region_boundary + b * regions;
    s.region_box = boxes;
    s.committee_fields = committee_fields;
    s.committee_sums = committee_sums + b * committee_fields;
    s.region_committee_sums = region_committee_sums + b * regions * committee_fields;
    for (int64_t i = 0; i < regions; ++i) {
      const uint32_t* reach = region_reach + (b * regions + i) * 4;
      boxes[i * 4] = r.width - reach[0];
      boxes[i * 4 + 1] = r.height - reach[1];
      boxes[i * 4 + 2] = int64_t{reach[2]} - 1;
      boxes[i * 4 + 3] = int64_t{reach[3]} - 1;
    }
    s.nonfinite = nonfinite[b];
    s.boundary = boundary[b];
    s.low = from_falling(low[b]);
    s.high = from_rising(high[b]);
    return s;
  }
};

}  // namespace deal
