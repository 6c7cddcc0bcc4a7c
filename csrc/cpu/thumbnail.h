// Signatures of images: 12 x 16 grey means, and how far two of them are apart.
#pragma once

#include <stdint.h>

#include "abi/deal.h"

namespace deal {

constexpr int64_t kThumbnailRows = 12, kThumbnailColumns = 16;
static_assert(kThumbnailRows * kThumbnailColumns == DEAL_THUMBNAIL_BYTES, "as in deal.h");

// Strides in bytes: row, column, channel.
void make_thumbnail(const uint8_t* rgb, const int64_t* stride, int64_t height, int64_t width,
                    uint8_t* out);
int64_t thumbnail_difference(const uint8_t* a, const uint8_t* b);

}  // namespace deal
