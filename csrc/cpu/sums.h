// Integer sums of one image or a part of it, and the one routine that turns them into means.
#pragma once

#include <math.h>
#include <stdint.h>

#include "abi/deal.h"
#include "cpu/kernels.h"
#include "cpu/memory.h"
#include "abi/request.h"

namespace deal {

// Of n votes among M members: -(n/M) log(n/M), a term of the votes' entropy.
inline float vote_term(int64_t votes, int64_t members) {
  const double share = static_cast<double>(votes) / static_cast<double>(members);
  return votes == 0 ? 0.0f : static_cast<float>(share * -log(share));
}

struct Sums {
  int64_t classes, regions;
  int64_t* class_sums;     // [C, 8]
  uint32_t* entropy_hist;  // [240]
  uint32_t* difficulty_hist;
  uint32_t* image_hist;
  int64_t* region_sums;            // [R, 8]
  uint32_t* region_classes;        // [R, C]
  int64_t* region_boundary;        // [R]
  int64_t* region_box;             // [R, 4]: smallest x, y and largest x, y, inclusive
  int64_t committee_fields;        // kCommittee, or 0 without a committee
  int64_t* committee_sums;         // [committee_fields]
  int64_t* region_committee_sums;  // [R, committee_fields]
  int64_t nonfinite, boundary;
  float low, high;  // of the difficulty

  void carve(Carver& carver, const Request& request);
  void clear();
  // Adds what another thread summed; nonfinite and the range were joined before, stages need them.
  void add(const Sums& other);
};

// Writes the numbers of image b: means in double from the integer totals.
void write_image(const Request& request, const Sums& sums, int64_t b, const deal_output& output);

}  // namespace deal
