// Rows of a tensor, as floats: what the rows of a resize lie between.
#pragma once

#include <stdint.h>

#include "abi/deal.h"
#include "cpu/kernels.h"
#include "cpu/memory.h"
#include "abi/request.h"
#include "pixel/taps.h"

namespace deal {

inline Encoding encoding_of(const TensorView& tensor) {
  return {tensor.dtype, tensor.scale, tensor.zero_point};
}

// Belongs to one thread. Keeps the two source rows it used last, so each is converted once.
class RowSource {
 public:
  void carve(Carver& carver, int64_t channels, int64_t width) {
    stride_ = width + kPad;
    for (auto& rows : converted_) rows = carver.take<float>(channels * stride_);
  }

  void begin(const TensorView& tensor, int64_t b) {
    tensor_ = tensor;
    image_ = b;
    held_[0] = held_[1] = -1;
  }

  // What lies at y; valid until other rows are asked for.
  Between at(const Kernels& kernels, Tap y) {
    const float* upper = convert(kernels, y.first, y.second);
    return {upper, convert(kernels, y.second, y.first), stride_, y.weight};
  }

 private:
  const float* convert(const Kernels& kernels, int64_t y, int64_t keep) {
    for (int k = 0; k < 2; ++k) {
      if (held_[k] == y) return converted_[k];
    }
    const int k = held_[0] == keep ? 1 : 0;
    for (int64_t c = 0; c < tensor_.channels; ++c) {
      kernels.load_row(tensor_.row(image_, c, y), encoding_of(tensor_), tensor_.column_stride,
                       converted_[k] + c * stride_, tensor_.width);
    }
    held_[k] = y;
    return converted_[k];
  }

  int64_t stride_ = 0;
  float* converted_[2] = {nullptr, nullptr};
  TensorView tensor_ = {};
  int64_t image_ = 0;
  int64_t held_[2] = {-1, -1};
};

}  // namespace deal
