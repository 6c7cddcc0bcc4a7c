// What a committee's members disagree about, written once over a lane type L.
#pragma once

#include "cpu/kernels_impl.h"

namespace deal {
namespace {

// Samples the classes of a block of pixels into z[C].
template <class L, bool kWindowed>
DEAL_INLINE TopTwo<typename L::F, typename L::I> sample_classes(const Between& row, int32_t classes,
                                                                const Block<L>& block,
                                                                typename L::F* z) {
  using F = typename L::F;
  using I = typename L::I;
  z[0] = block.template at<kWindowed>(row, 0);
  TopTwo<F, I> top(z[0]);
  I c_here(1);
  for (int32_t c = 1; c < classes; ++c) {
    z[c] = block.template at<kWindowed>(row, c);
    top.add(z[c], c_here);
    c_here = add_wrapping(c_here, I(1));
  }
  return top;
}

// With P the probabilities of a member and n the votes of a class: the votes' entropy, the mutual
// information H(mean P) - mean H(P), and the consensus entropy H(mean P), of one block of pixels.
template <class L, bool kWindowed>
DEAL_INLINE void committee_block(const CommitteeRow& row, const Block<L>& block, int64_t x) {
  using F = typename L::F;
  using I = typename L::I;
  F powers[DEAL_MAX_CLASSES], mean[DEAL_MAX_CLASSES];
  I votes[DEAL_MAX_CLASSES];
  for (int32_t c = 0; c < row.classes; ++c) {
    mean[c] = F(0.0f);
    votes[c] = I(0);
  }
  F entropies(0.0f);
  for (int32_t m = 0; m < row.members; ++m) {
    const auto top = sample_classes<L, kWindowed>(row.logits[m], row.classes, block, powers);
    F sum(0.0f), weighted(0.0f);
    for (int32_t c = 0; c < row.classes; ++c) {
      const F d = max_(powers[c] - top.first, F(kLowestProbabilityExponent));
      const F e = exp_in_range(d);
      sum = sum + e;
      weighted = fma_(e, d, weighted);
      powers[c] = e;
    }
    const F inverse = F(1.0f) / sum;
    entropies = entropies + (log_positive(sum) - weighted * inverse);
    for (int32_t c = 0; c < row.classes; ++c) {
      mean[c] = fma_(powers[c], inverse, mean[c]);
      votes[c] = count_equal(votes[c], top.label, I(c));
    }
  }
  const F share(1.0f / static_cast<float>(row.members));
  F negative(0.0f), vote_entropy(0.0f);
  for (int32_t c = 0; c < row.classes; ++c) {
    const F p = mean[c] * share;
    negative = fma_(p, log_positive(p), negative);
    vote_entropy = vote_entropy + L::gather(row.vote_terms, votes[c]);
  }
  const F consensus = F(0.0f) - negative;
  L::store_int(row.values[kVoteEntropy] + x, to_fixed(vote_entropy));
  L::store_int(row.values[kMutualInformation] + x, to_fixed(consensus - entropies * share));
  L::store_int(row.values[kConsensusEntropy] + x, to_fixed(consensus));
}

template <class L>
void committee_row(const CommitteeRow& row) {
  for (int64_t x = 0; x < row.width; x += L::width) {
    const Block<L> block(row.taps, x);
    if (block.windowed) {
      committee_block<L, true>(row, block, x);
    } else {
      committee_block<L, false>(row, block, x);
    }
  }
}

}  // namespace
}  // namespace deal
