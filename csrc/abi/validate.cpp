#include "abi/validate.h"

#include <math.h>

#include <algorithm>

#include "pixel/attention_plan.h"
#include "abi/columns.h"
#include "cuda/statistics_cuda.h"

namespace deal {
namespace {

// The uncertainty_weight of a head without one.
constexpr float kZeros[DEAL_MAX_CLASSES] = {};

bool aligned(const void* data, int64_t element_size) {
  return reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(element_size) == 0;
}

// Rasters and grids: columns are int32, counts of pixels uint32, and no size computed from them
// overflows.
bool fits(int64_t height, int64_t width) {
  return height >= 1 && width >= 1 && height <= INT32_MAX && width <= INT32_MAX / 16 &&
         height * width <= UINT32_MAX;
}

// A buffer of size_bytes has to hold all that strides reach, from the first byte to the last.
void check_size(const deal_tensor& t, int64_t element_size, const char* name) {
  if (t.size_bytes == 0) return;
  const int64_t sizes[5] = {std::max<int64_t>(t.members, 1), t.batch, t.channels, t.height,
                            t.width};
  int64_t span = 1;  // elements
  bool holds = true;
  for (int d = 0; d < 5 && holds; ++d) {
    if (sizes[d] == 1) continue;  // its stride is never taken
    int64_t reach;
    holds = t.stride[d] != INT64_MIN &&
            !__builtin_mul_overflow(sizes[d] - 1, t.stride[d] < 0 ? -t.stride[d] : t.stride[d],
                                    &reach) &&
            !__builtin_add_overflow(span, reach, &span);
  }
  if (!holds || span > t.size_bytes / element_size) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "%s.size_bytes is %lld, less than its sizes and strides reach; check the strides", name,
         ll(t.size_bytes));
  }
}

bool is_quantised(const deal_tensor& t) { return t.dtype == DEAL_INT8 || t.dtype == DEAL_UINT8; }

// Bounds that keep every value far from infinity; NaN fails the comparison.
void check_quantisation(const deal_tensor& t, const char* name) {
  if (!is_quantised(t)) return;
  if (!(t.scale > 0.0f && t.scale <= 1e30f)) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "%s.scale is %g; integers need the scale of their quantisation, above 0 and at most 1e30",
         name, static_cast<double>(t.scale));
  }
  const int32_t low = t.dtype == DEAL_INT8 ? INT8_MIN : 0;
  if (t.zero_point < low || t.zero_point > low + UINT8_MAX) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "%s.zero_point is %d; %d to %d are possible", name,
         t.zero_point, low, low + UINT8_MAX);
  }
}

TensorView view_tensor(const deal_tensor* tensor, const char* name) {
  const deal_tensor t = read_struct(tensor, name);
  if (t.data == nullptr) fail(DEAL_ERROR_INVALID_ARGUMENT, "%s.data is NULL", name);
  if (t.device == DEAL_CUDA && !has_cuda()) {
    fail(DEAL_ERROR_UNSUPPORTED, "%s lies on a CUDA device; this build scores on the CPU only",
         name);
  }
  if (t.device != DEAL_CPU && t.device != DEAL_CUDA) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "%s.device %d is no deal_device", name, t.device);
  }
  if (t.members < 0 || t.members > DEAL_MAX_MEMBERS) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "%s has %lld committee members; 1 to %d are supported", name,
         ll(t.members), DEAL_MAX_MEMBERS);
  }
  if (t.batch < 1 || t.channels < 1 || t.height < 1 || t.width < 1 || t.height > INT32_MAX ||
      t.width > INT32_MAX / 2) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "%s has the shape [%lld, %lld, %lld, %lld]", name,
         ll(t.batch), ll(t.channels), ll(t.height), ll(t.width));
  }
  if (t.dtype < DEAL_FLOAT32 || t.dtype > DEAL_UINT8) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "%s.dtype %d is not float32, float16, bfloat16, int8 or uint8", name, t.dtype);
  }
  check_quantisation(t, name);
  TensorView view = {};
  view.data = static_cast<const char*>(t.data);
  view.dtype = t.dtype;
  view.device = t.device;
  view.scale = t.scale;
  view.zero_point = t.zero_point;
  view.element_size = t.dtype == DEAL_FLOAT32 ? 4 : is_quantised(t) ? 1 : 2;
  if (!aligned(t.data, view.element_size)) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "%s is not aligned to its elements; pass a copy", name);
  }
  check_size(t, view.element_size, name);
  view.members = std::max<int64_t>(t.members, 1);
  view.batch = t.batch;
  view.channels = t.channels;
  view.height = t.height;
  view.width = t.width;
  view.member_stride = t.stride[0];
  view.batch_stride = t.stride[1];
  view.channel_stride = t.stride[2];
  view.row_stride = t.stride[3];
  view.column_stride = t.stride[4];
  return view;
}

void check_head(const deal_head& head, int64_t classes) {
  if (head.weight == nullptr) fail(DEAL_ERROR_INVALID_ARGUMENT, "head.weight is NULL");
  if (head.channels != classes) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "the head has %lld weights, the logits %lld classes",
         ll(head.channels), ll(classes));
  }
  // Products of two such numbers are far from infinity; NaN fails the comparison.
  const auto usable = [](float value) { return fabsf(value) <= 1e15f; };
  if (!usable(head.gamma) || !usable(head.bias) ||
      !std::all_of(head.weight, head.weight + classes, usable) ||
      !std::all_of(head.uncertainty_weight, head.uncertainty_weight + classes, usable)) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "the head's gamma, bias and weights have to be finite and at most 1e15");
  }
  if (head.attention < DEAL_ATTENTION_AUTO || head.attention > DEAL_ATTENTION_POLYNOMIAL) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "head.attention %d is no deal_attention", head.attention);
  }
  if (head.attention == DEAL_ATTENTION_POLYNOMIAL && monomials(classes) > kMaxMonomials) {
    fail(DEAL_ERROR_UNSUPPORTED, "polynomial attention takes at most 45 classes, not %lld",
         ll(classes));
  }
}

void resolve_regions(const deal_regions* regions, Request* r) {
  if (regions == nullptr) return;
  const deal_regions given = read_struct(regions, "deal_regions");
  if (given.kind == DEAL_REGIONS_NONE) return;
  r->region_kind = given.kind;
  if (given.kind == DEAL_REGIONS_GRID) {
    if (given.cell < 1) {
      fail(DEAL_ERROR_INVALID_ARGUMENT, "regions.cell is %lld; at least 1 is needed",
           ll(given.cell));
    }
    r->region_cell = given.cell;
    r->region_columns = (r->width - 1) / given.cell + 1;
    r->region_count = ((r->height - 1) / given.cell + 1) * r->region_columns;
    return;
  }
  if (given.kind != DEAL_REGIONS_SEGMENTS) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "regions.kind %d is no deal_region_kind", given.kind);
  }
  if (given.map == nullptr || !aligned(given.map, sizeof *given.map)) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "segments need a map, aligned to its int32 ids");
  }
  if (given.count < 1 || given.count > INT32_MAX) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "segments need a count from 1 to 2^31 - 1, not %lld",
         ll(given.count));
  }
  r->segments = given.map;
  r->segments_shared = given.shared != 0;
  r->region_count = given.count;
}

}  // namespace

void check_segments(const Request& r) {
  if (r.segments == nullptr) return;
  const int64_t n = (r.segments_shared ? 1 : r.logits.batch) * r.height * r.width;
  int32_t largest = -1;
  for (int64_t i = 0; i < n; ++i) largest = r.segments[i] > largest ? r.segments[i] : largest;
  if (largest >= r.region_count) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "the segment map has the id %d, but only %lld regions",
         largest, ll(r.region_count));
  }
}

void resolve(const deal_input* input, Resolved* out) {
  const deal_input in = read_struct(input, "deal_input");
  Request& r = out->request;
  r.logits = view_tensor(in.logits, "logits");
  if (r.logits.channels > DEAL_MAX_CLASSES) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "%lld classes; at most %d are supported",
         ll(r.logits.channels), DEAL_MAX_CLASSES);
  }
  if (!fits(in.raster_height, in.raster_width)) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "the raster is %lld x %lld", ll(in.raster_height),
         ll(in.raster_width));
  }
  r.height = in.raster_height;
  r.width = in.raster_width;
  if (in.sampling != DEAL_HALF_PIXEL && in.sampling != DEAL_ALIGN_CORNERS) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "sampling %d is no deal_sampling", in.sampling);
  }
  r.align_corners = in.sampling == DEAL_ALIGN_CORNERS;
  if (in.difficulty != nullptr) {
    r.difficulty = view_tensor(in.difficulty, "difficulty");
    if (r.difficulty.members > 1) {
      fail(DEAL_ERROR_INVALID_ARGUMENT,
           "the difficulty has %lld committee members; it needs that of logits' member 0 alone",
           ll(r.difficulty.members));
    }
    if (r.difficulty.batch != r.logits.batch || r.difficulty.channels != 1) {
      fail(DEAL_ERROR_INVALID_ARGUMENT,
           "the difficulty has %lld images and %lld channels; it needs %lld and 1",
           ll(r.difficulty.batch), ll(r.difficulty.channels), ll(r.logits.batch));
    }
    r.grid_height = r.difficulty.height;
    r.grid_width = r.difficulty.width;
  } else if (in.head != nullptr) {
    out->head = read_struct(in.head, "deal_head");
    if (out->head.uncertainty_weight == nullptr) out->head.uncertainty_weight = kZeros;
    check_head(out->head, r.logits.channels);
    r.head = &out->head;
    const bool own = out->head.grid_height == 0 && out->head.grid_width == 0;
    r.grid_height = own ? r.logits.height : out->head.grid_height;
    r.grid_width = own ? r.logits.width : out->head.grid_width;
  }
  if (r.has_difficulty() && !fits(r.grid_height, r.grid_width)) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "the difficulty's grid is %lld x %lld", ll(r.grid_height),
         ll(r.grid_width));
  }
  resolve_regions(in.regions, &r);
  r.mask = in.mask;
  r.mask_shared = in.mask_shared != 0;
}

void check_outputs(const Request& r, const deal_output& o) {
  const bool difficulty =
      asks_for(o, Part::difficulty) || o.difficulty_grid != nullptr || o.difficulty_map != nullptr;
  if (difficulty && !r.has_difficulty()) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "a difficulty output is asked for without a head or a difficulty grid");
  }
  if (asks_for(o, Part::committee) && r.logits.members == 1) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "a committee's output is asked for, but the logits have one member");
  }
}

}  // namespace deal
