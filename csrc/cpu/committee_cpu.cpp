// The stage of an image that compares the members of a committee.
#include "cpu/image_job.h"

namespace deal {

void ImageJob::make_committee() {
  const int64_t members = r_.logits.members;
  team_.run(r_.height, row_grain(), [&](int64_t begin, int64_t end, int slot) {
    RowWorkspace& mine = w_.rows[slot];
    for (int64_t m = 0; m < members; ++m) mine.members[m].begin(r_.logits.member(m), b_);
    Between logits[DEAL_MAX_MEMBERS];
    CommitteeRow row = {};
    row.width = r_.width;
    row.classes = static_cast<int32_t>(r_.logits.channels);
    row.members = static_cast<int32_t>(members);
    row.logits = logits;
    row.taps = w_.logits_x.taps();
    row.vote_terms = w_.vote_terms;
    for (int k = 0; k < kCommittee; ++k) row.values[k] = mine.committee_values[k];
    for (int64_t y = begin; y < end; ++y) {
      for (int64_t m = 0; m < members; ++m) {
        logits[m] = mine.members[m].at(k_, w_.logits_y.at(y));
      }
      k_.committee_row(row);
      add_committee_row(y, row, mine.sums);
    }
  });
}

// In runs of equal region.
void ImageJob::add_committee_row(int64_t y, const CommitteeRow& row, Sums& sums) const {
  const uint8_t* mask = r_.mask_row(b_, y);
  int64_t offset;
  const int32_t* regions = region_row(y, &offset);
  const auto kept = [&](int64_t x) { return mask == nullptr || mask[x] != 0; };
  int64_t x = 0;
  while (x < row.width) {
    if (!kept(x)) {
      ++x;
      continue;
    }
    const int32_t region = regions != nullptr ? regions[x] : -1;
    int64_t total[kCommittee] = {};
    do {
      for (int k = 0; k < kCommittee; ++k) total[k] += row.values[k][x];
      ++x;
    } while (x < row.width && kept(x) && (regions == nullptr || regions[x] == region));
    for (int k = 0; k < kCommittee; ++k) {
      sums.committee_sums[k] += total[k];
      if (region >= 0) sums.region_committee_sums[(region + offset) * kCommittee + k] += total[k];
    }
  }
}

}  // namespace deal
