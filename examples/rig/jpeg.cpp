#include "jpeg.hpp"

#include <csetjmp>
#include <cstdio>
#include <stdexcept>

#include <jpeglib.h>

namespace {

constexpr std::uint64_t kMostPixels = 200'000'000;  // as deal: a damaged header may tell any size

struct Errors {
  jpeg_error_mgr manager;  // first: libjpeg hands a pointer to it back
  std::jmp_buf back;
  char text[JMSG_LENGTH_MAX];
};

[[noreturn]] void fail(j_common_ptr info) {
  auto* errors = reinterpret_cast<Errors*>(info->err);
  info->err->format_message(info, errors->text);
  std::longjmp(errors->back, 1);
}

void remark(j_common_ptr info, int level) {
  if (level < 0) fail(info);  // a warning; other levels trace
}

// No object with a destructor may live here: longjmp leaves it behind.
bool decode(const std::vector<std::uint8_t>& data, Image& image, Errors& errors) {
  jpeg_decompress_struct info;
  info.err = jpeg_std_error(&errors.manager);
  info.err->error_exit = fail;
  info.err->emit_message = remark;
  jpeg_create_decompress(&info);
  if (setjmp(errors.back) != 0) {
    jpeg_destroy_decompress(&info);
    return false;
  }
  jpeg_mem_src(&info, data.data(), static_cast<unsigned long>(data.size()));
  jpeg_read_header(&info, TRUE);
  if (std::uint64_t{info.image_width} * info.image_height > kMostPixels) {
    std::snprintf(errors.text, sizeof errors.text, "%u x %u pixels", info.image_width,
                  info.image_height);
    jpeg_destroy_decompress(&info);
    return false;
  }
  info.out_color_space = JCS_RGB;
  info.dct_method = JDCT_ISLOW;
  info.do_fancy_upsampling = TRUE;
  jpeg_start_decompress(&info);
  image.height = info.output_height;
  image.width = info.output_width;
  image.rgb.resize(std::size_t{info.output_height} * info.output_width * 3);
  while (info.output_scanline < info.output_height) {
    JSAMPROW row = image.rgb.data() + std::size_t{info.output_scanline} * info.output_width * 3;
    jpeg_read_scanlines(&info, &row, 1);
  }
  jpeg_finish_decompress(&info);
  jpeg_destroy_decompress(&info);
  return true;
}

}  // namespace

Image decode_jpeg(const std::vector<std::uint8_t>& data) {
  Image image;
  Errors errors;
  if (!decode(data, image, errors)) {
    throw std::runtime_error(std::string("damaged JPEG: ") + errors.text);
  }
  return image;
}
