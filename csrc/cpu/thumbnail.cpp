#include "cpu/thumbnail.h"

#include <stdlib.h>

#include <algorithm>

namespace deal {
namespace {

// Rows of an area that are averaged, spread evenly over it. More would change little, and reading
// a large image once more takes time.
constexpr int64_t kMostRows = 32;

// floor(part * length / parts), without overflow.
int64_t start_of(int64_t part, int64_t length, int64_t parts) {
  return length / parts * part + length % parts * part / parts;
}

struct Sums {
  uint64_t channel[3];
};

void add_columns(const uint8_t* pixel, int64_t column_stride, int64_t channel_stride, int64_t count,
                 Sums* sums) {
  uint64_t red = 0, green = 0, blue = 0;
  if (column_stride == 3 && channel_stride == 1) {  // the usual layout, in constants
    for (int64_t x = 0; x < count; ++x, pixel += 3) {
      red += pixel[0];
      green += pixel[1];
      blue += pixel[2];
    }
  } else {
    for (int64_t x = 0; x < count; ++x, pixel += column_stride) {
      red += pixel[0];
      green += pixel[channel_stride];
      blue += pixel[2 * channel_stride];
    }
  }
  sums->channel[0] += red;
  sums->channel[1] += green;
  sums->channel[2] += blue;
}

}  // namespace

void make_thumbnail(const uint8_t* rgb, const int64_t* stride, int64_t height, int64_t width,
                    uint8_t* out) {
  for (int64_t i = 0; i < kThumbnailRows; ++i) {
    const int64_t top = start_of(i, height, kThumbnailRows);
    const int64_t size = std::max<int64_t>(start_of(i + 1, height, kThumbnailRows) - top, 1);
    const int64_t rows = std::min(size, kMostRows);
    Sums sums[kThumbnailColumns] = {};
    int64_t counts[kThumbnailColumns];
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t y = top + (size > kMostRows ? start_of(2 * r + 1, size, 2 * kMostRows) : r);
      for (int64_t j = 0; j < kThumbnailColumns; ++j) {
        const int64_t left = start_of(j, width, kThumbnailColumns);
        counts[j] = std::max<int64_t>(start_of(j + 1, width, kThumbnailColumns) - left, 1);
        add_columns(rgb + y * stride[0] + left * stride[1], stride[1], stride[2], counts[j],
                    &sums[j]);
      }
    }
    for (int64_t j = 0; j < kThumbnailColumns; ++j) {
      // Luma of ITU-R BT.601 in 2^-16, as Pillow has it, rounded once for the whole area.
      const uint64_t luma =
          19595 * sums[j].channel[0] + 38470 * sums[j].channel[1] + 7471 * sums[j].channel[2];
      const auto pixels = static_cast<uint64_t>(rows * counts[j]);
      *out++ = static_cast<uint8_t>((luma + pixels * 32768) / (pixels * 65536));
    }
  }
}

int64_t thumbnail_difference(const uint8_t* a, const uint8_t* b) {
  constexpr int32_t kSize = DEAL_THUMBNAIL_BYTES;
  int32_t mean = 0;  // times 192
  for (int32_t i = 0; i < kSize; ++i) mean += a[i] - b[i];
  int32_t sum = 0;  // at most 192 * 192 * 510
  for (int32_t i = 0; i < kSize; ++i) sum += abs(kSize * (a[i] - b[i]) - mean);
  return sum;
}

}  // namespace deal
