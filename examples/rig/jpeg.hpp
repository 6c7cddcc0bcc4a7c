// JPEG bytes → RGB pixels, as deal decodes them.
#pragma once

#include <cstdint>
#include <vector>

struct Image {
  std::int64_t height = 0, width = 0;
  std::vector<std::uint8_t> rgb;  // [height, width, 3]
};

// Decodes with libjpeg-turbo's accurate inverse transform and smooth upsampling, which deal uses,
// too. Like deal it takes the first remark of the library, such as a premature end, for damage.
// Throws std::runtime_error. Unlike deal it does not turn images by their EXIF orientation.
Image decode_jpeg(const std::vector<std::uint8_t>& data);
