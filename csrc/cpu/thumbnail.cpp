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

// Where the rows of an area lie that are averaged.
struct Rows {
  int64_t top, size, count;

  int64_t at(int64_t r) const {
    return top + (size > kMostRows ? start_of(2 * r + 1, size, 2 * kMostRows) : r);
  }
};

struct Columns {
  int64_t left, count;
};

template <class... Row>
void add_rows(uint16_t* __restrict added, int64_t numbers, const Row*... rows) {
  for (int64_t k = 0; k < numbers; ++k) {
    added[k] = static_cast<uint16_t>((added[k] + ... + rows[k]));
  }
}

// The usual layout: rows are added up first, many numbers at once, and columns afterwards.
void add_packed(const uint8_t* rgb, int64_t row_stride, const Rows& rows, const Columns* columns,
                int64_t width, Sums* sums) {
  constexpr int64_t kAtOnce = 512;  // pixels
  static_assert(kMostRows * 255 <= UINT16_MAX, "rows fit");
  uint16_t added[3 * kAtOnce];
  for (int64_t begin = 0; begin < width; begin += kAtOnce) {
    const int64_t end = std::min(begin + kAtOnce, width), numbers = 3 * (end - begin);
    for (int64_t k = 0; k < numbers; ++k) added[k] = 0;
    const auto row = [&](int64_t r) { return rgb + rows.at(r) * row_stride + 3 * begin; };
    int64_t r = 0;
    for (; r + 4 <= rows.count; r += 4) {  // so that sums are loaded and stored once for four rows
      add_rows(added, numbers, row(r), row(r + 1), row(r + 2), row(r + 3));
    }
    for (; r < rows.count; ++r) add_rows(added, numbers, row(r));
    for (int64_t j = 0; j < kThumbnailColumns; ++j) {
      const int64_t from = std::max(columns[j].left, begin);
      const int64_t to = std::min(columns[j].left + columns[j].count, end);
      uint32_t red = 0, green = 0, blue = 0;
      for (int64_t x = from; x < to; ++x) {
        const uint16_t* pixel = added + 3 * (x - begin);
        red += pixel[0];
        green += pixel[1];
        blue += pixel[2];
      }
      sums[j].channel[0] += red;
      sums[j].channel[1] += green;
      sums[j].channel[2] += blue;
    }
  }
}

void add_strided(const uint8_t* rgb, const int64_t* stride, const Rows& rows,
                 const Columns* columns, Sums* sums) {
  for (int64_t r = 0; r < rows.count; ++r) {
    for (int64_t j = 0; j < kThumbnailColumns; ++j) {
      const uint8_t* pixel = rgb + rows.at(r) * stride[0] + columns[j].left * stride[1];
      for (int64_t x = 0; x < columns[j].count; ++x, pixel += stride[1]) {
        for (int c = 0; c < 3; ++c) sums[j].channel[c] += pixel[c * stride[2]];
      }
    }
  }
}

}  // namespace

void make_thumbnail(const uint8_t* rgb, const int64_t* stride, int64_t height, int64_t width,
                    uint8_t* out) {
  Columns columns[kThumbnailColumns];
  for (int64_t j = 0; j < kThumbnailColumns; ++j) {
    const int64_t left = start_of(j, width, kThumbnailColumns);
    columns[j] = {left, std::max<int64_t>(start_of(j + 1, width, kThumbnailColumns) - left, 1)};
  }
  const bool is_packed = stride[1] == 3 && stride[2] == 1;
  for (int64_t i = 0; i < kThumbnailRows; ++i) {
    const int64_t top = start_of(i, height, kThumbnailRows);
    const int64_t size = std::max<int64_t>(start_of(i + 1, height, kThumbnailRows) - top, 1);
    const Rows rows = {top, size, std::min(size, kMostRows)};
    Sums sums[kThumbnailColumns] = {};
    if (is_packed) {
      add_packed(rgb, stride[0], rows, columns, width, sums);
    } else {
      add_strided(rgb, stride, rows, columns, sums);
    }
    for (int64_t j = 0; j < kThumbnailColumns; ++j) {
      // Luma of ITU-R BT.601 in 2^-16, as Pillow has it, rounded once for the whole area.
      const uint64_t luma =
          19595 * sums[j].channel[0] + 38470 * sums[j].channel[1] + 7471 * sums[j].channel[2];
      const auto pixels = static_cast<uint64_t>(rows.count * columns[j].count);
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
