#include "pixel/attention_plan.h"

#include <algorithm>

namespace deal {

ValueRange::ValueRange(const deal_head& head) {
  const auto range = std::minmax_element(head.weight, head.weight + head.channels);
  const float* const u = head.uncertainty_weight;
  const auto extra = std::minmax_element(u, u + head.channels);
  const float most = 1.0f - 1.0f / static_cast<float>(head.channels);
  low = *range.first + most * std::min(*extra.first, 0.0f);
  spread = *range.second + most * std::max(*extra.second, 0.0f) - low;
}

bool use_polynomial(const deal_head& head, int64_t cells) {
  if (head.attention != DEAL_ATTENTION_AUTO) return head.attention == DEAL_ATTENTION_POLYNOMIAL;
  // Fused multiply-adds a cell: a dot product and about fourteen for exp and sums with each other
  // cell, against four a monomial (two sums, built and evaluated).
  const int64_t direct = cells * (head.channels + 14), linear = 4 * monomials(head.channels);
  return linear < direct && monomials(head.channels) <= kMaxMonomials;
}

}  // namespace deal
