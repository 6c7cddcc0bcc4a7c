// Acquisition functions that look at one image, from its statistics.
#pragma once

#include <stdint.h>

#include "abi/deal.h"

namespace deal {

// The kind with this name, as deal.acquisition_scores takes it; -1 if there is none.
int32_t acquisition_kind(const char* name);
// Refuses options that do not fit, and an output without a column that the function reads.
void check_acquisition(const deal_acquisition& acquisition, const deal_output& output);
// The score of image b. check_acquisition has passed.
double acquisition_score(const deal_acquisition& acquisition, const deal_output& output, int64_t b);

}  // namespace deal
