// A validated request: shapes, strides and pointers, without versions or optional structs.
#pragma once

#include <stdint.h>

#include "abi/deal.h"

namespace deal {

struct TensorView {
  const char* data;
  int32_t dtype, device;
  float scale;  // of integers, and likewise
  int32_t zero_point;
  int64_t element_size;
  int64_t members, batch, channels, height, width;
  int64_t member_stride, batch_stride, channel_stride, row_stride, column_stride;  // in elements

  // One member of a committee.
  TensorView member(int64_t m) const {
    TensorView one = *this;
    one.data += m * member_stride * element_size;
    one.members = 1;
    return one;
  }
  const void* row(int64_t b, int64_t c, int64_t y) const {
    return data + (b * batch_stride + c * channel_stride + y * row_stride) * element_size;
  }
};

struct Request {
  TensorView logits;
  TensorView difficulty;  // data is NULL without one
  int64_t height, width;  // raster
  bool align_corners;
  const deal_head* head;  // NULL when there is none, or a difficulty tensor wins
  int64_t grid_height, grid_width;
  int32_t region_kind;
  int64_t region_cell, region_columns, region_count;
  const int32_t* segments;
  bool segments_shared;
  const uint8_t* mask;
  bool mask_shared;

  bool has_difficulty() const { return difficulty.data != nullptr || head != nullptr; }
  const uint8_t* mask_row(int64_t b, int64_t y) const {
    if (mask == nullptr) return nullptr;
    return mask + ((mask_shared ? 0 : b) * height + y) * width;
  }
  const int32_t* segment_row(int64_t b, int64_t y) const {
    return segments + ((segments_shared ? 0 : b) * height + y) * width;
  }
};

}  // namespace deal
