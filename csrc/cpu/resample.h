// Antialiased resizing of RGB images. Each pass gives the bytes of Pillow's Image.resize in that
// direction: the filter is widened by the scale, coefficients are integers of 2^-22, the result is
// rounded to 8 bits (Pillow, src/libImaging/Resample.c). Here rows always come before columns; in
// Pillow the order, and so the last bit, depends on sizes and on its version.
#pragma once

#include <cstdint>

namespace deal {

enum class ResampleFilter { kBilinear, kBicubic };

// image and out are dense [height, width, 3] and [out_height, out_width, 3]; all sizes at least 1.
// With vector false only portable code runs; the bytes are the same.
void resample_rgb(const uint8_t* image, int64_t height, int64_t width, uint8_t* out,
                  int64_t out_height, int64_t out_width, ResampleFilter filter, bool vector = true);

}  // namespace deal
