// Which stages an output needs.
#pragma once

#include "abi/deal.h"
#include "abi/request.h"

namespace deal {

inline bool asks_for_committee(const deal_output& o) {
  return o.vote_entropy_mean != nullptr || o.mutual_information_mean != nullptr ||
         o.consensus_entropy_mean != nullptr || o.region_vote_entropy_mean != nullptr ||
         o.region_mutual_information_mean != nullptr || o.region_consensus_entropy_mean != nullptr;
}

inline bool asks_for_contours(const deal_output& o) {
  return o.boundary_length != nullptr || o.boundary_corners != nullptr ||
         o.region_boundary_length != nullptr || o.region_boundary_corners != nullptr;
}

struct Needs {
  bool statistics, boundary, committee, contours;
  bool difficulty, raster;  // on the grid, and of every pixel
  bool boxes;
  Needs(const Request& request, const deal_output& output);
};

}  // namespace deal
