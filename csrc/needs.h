// Which stages an output needs.
#pragma once

#include "deal.h"
#include "plan.h"

namespace deal {

inline bool asks_for_committee(const deal_output& o) {
  return o.vote_entropy_mean != nullptr || o.mutual_information_mean != nullptr ||
         o.consensus_entropy_mean != nullptr || o.region_vote_entropy_mean != nullptr ||
         o.region_mutual_information_mean != nullptr || o.region_consensus_entropy_mean != nullptr;
}

struct Needs {
  bool statistics, boundary, committee, difficulty, boxes;
  Needs(const Request& request, const deal_output& output);
};

}  // namespace deal
