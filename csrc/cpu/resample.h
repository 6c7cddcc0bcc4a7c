// Antialiased resizing of RGB images. Each pass gives the bytes of Pillow's Image.resize in that
// direction: the filter is widened by the scale, coefficients are integers of 2^-22, the result is
// rounded to 8 bits (Pillow, src/libImaging/Resample.c). Here rows always come before columns; in
// Pillow the order, and so the last bit, depends on sizes and on its version.
#pragma once

#include <cstdint>

namespace deal {

enum class ResampleFilter { kBilinear, kBicubic };

// An image [height, width, 3], all sizes at least 1; stride is in bytes.
struct RgbView {
  const uint8_t* data;
  int64_t height, width;
  int64_t stride[3];  // row, column, channel

  bool has_packed_pixels() const { return stride[1] == 3 && stride[2] == 1; }
  bool is_packed() const { return has_packed_pixels() && stride[0] == 3 * width; }
};

inline RgbView packed(const uint8_t* data, int64_t height, int64_t width) {
  return {data, height, width, {3 * width, 3, 1}};
}

// out is dense [out_height, out_width, 3]. With vector false only portable code runs; the bytes are
// the same.
void resample_rgb(const RgbView& image, uint8_t* out, int64_t out_height, int64_t out_width,
                  ResampleFilter filter, bool vector = true);

// Without a filter: Pillow's nearest neighbour.
void nearest_rgb(const RgbView& image, uint8_t* out, int64_t out_height, int64_t out_width);

}  // namespace deal
