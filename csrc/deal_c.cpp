// The C ABI: validates, guards (no exception crosses), dispatches.
#include "deal.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <memory>
#include <new>
#include <stdexcept>

#include "attention_plan.h"
#include "kernels.h"
#include "plan.h"
#include "statistics_cpu.h"
#include "statistics_cuda.h"
#include "thread_pool.h"

#ifndef DEAL_VERSION
#define DEAL_VERSION "unknown"
#endif

struct deal_context {  // one of the two
  std::unique_ptr<deal::CpuScorer> cpu;
  std::unique_ptr<deal::CudaScorer> cuda;
};

namespace deal {
namespace {

thread_local char last_error[512] = "";

struct Failure {
  deal_status status;
};

[[noreturn]] __attribute__((format(printf, 2, 3))) void fail(deal_status status, const char* format,
                                                             ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(last_error, sizeof last_error, format, values);
  va_end(values);
  throw Failure{status};
}

template <class Fn>
deal_status guarded(Fn&& fn) {
  try {
    fn();
    return DEAL_OK;
  } catch (const Failure& failure) {
    return failure.status;
  } catch (const std::bad_alloc&) {
    snprintf(last_error, sizeof last_error, "out of memory");
    return DEAL_ERROR_OUT_OF_MEMORY;
  } catch (const DeviceError& error) {
    snprintf(last_error, sizeof last_error, "%s", error.what());
    return DEAL_ERROR_DEVICE;
  } catch (const std::invalid_argument& error) {
    snprintf(last_error, sizeof last_error, "%s", error.what());
    return DEAL_ERROR_INVALID_ARGUMENT;
  } catch (const std::exception& error) {
    snprintf(last_error, sizeof last_error, "%s", error.what());
    return DEAL_ERROR_INTERNAL;
  } catch (...) {
    snprintf(last_error, sizeof last_error, "unknown failure");
    return DEAL_ERROR_INTERNAL;
  }
}

// The caller's struct may be older (shorter) or newer (longer) than ours: fields it does not have
// are zero, fields we do not know are ignored.
template <class T>
T read_struct(const T* from, const char* name) {
  if (from == nullptr) fail(DEAL_ERROR_INVALID_ARGUMENT, "%s is NULL", name);
  if (from->struct_size < sizeof(size_t)) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "%s.struct_size is not set; set it to sizeof(%s)", name,
         name);
  }
  T copy = {};
  memcpy(&copy, from, from->struct_size < sizeof copy ? from->struct_size : sizeof copy);
  return copy;
}

long long ll(int64_t value) { return static_cast<long long>(value); }

bool aligned(const void* data, int64_t element_size) {
  return reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(element_size) == 0;
}

// Rasters and grids: columns are int32, counts of pixels uint32, and no size computed from them
// overflows.
bool fits(int64_t height, int64_t width) {
  return height >= 1 && width >= 1 && height <= INT32_MAX && width <= INT32_MAX / 16 &&
         height * width <= UINT32_MAX;
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
  if (t.members > 1) {
    fail(DEAL_ERROR_UNSUPPORTED, "%s has %lld committee members; this version takes one", name,
         ll(t.members));
  }
  if (t.batch < 1 || t.channels < 1 || t.height < 1 || t.width < 1 || t.height > INT32_MAX ||
      t.width > INT32_MAX / 2) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "%s has the shape [%lld, %lld, %lld, %lld]", name,
         ll(t.batch), ll(t.channels), ll(t.height), ll(t.width));
  }
  if (t.dtype != DEAL_FLOAT32 && t.dtype != DEAL_FLOAT16 && t.dtype != DEAL_BFLOAT16) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "%s.dtype %d is not float32, float16 or bfloat16", name,
         t.dtype);
  }
  TensorView view = {};
  view.data = static_cast<const char*>(t.data);
  view.dtype = t.dtype;
  view.device = t.device;
  view.element_size = t.dtype == DEAL_FLOAT32 ? 4 : 2;
  if (!aligned(t.data, view.element_size)) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "%s is not aligned to its elements; pass a copy", name);
  }
  view.batch = t.batch;
  view.channels = t.channels;
  view.height = t.height;
  view.width = t.width;
  view.batch_stride = t.stride[1];
  view.channel_stride = t.stride[2];
  view.row_stride = t.stride[3];
  view.column_stride = t.stride[4];
  return view;
}

// A request with room for what it points to.
struct Resolved {
  Request request = {};
  deal_head head = {};
};

void check_head(const deal_head& head, int64_t classes) {
  if (head.weight == nullptr) fail(DEAL_ERROR_INVALID_ARGUMENT, "head.weight is NULL");
  if (head.channels != classes) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "the head has %lld weights, the logits %lld classes",
         ll(head.channels), ll(classes));
  }
  // Products of two such numbers are far from infinity; NaN fails the comparison.
  const auto usable = [](float value) { return fabsf(value) <= 1e15f; };
  if (!usable(head.gamma) || !usable(head.bias) ||
      !std::all_of(head.weight, head.weight + classes, usable)) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "the head's gamma, bias and weights have to be finite and at most 1e15");
  }
  if (head.attention < DEAL_ATTENTION_AUTO || head.attention > DEAL_ATTENTION_POLYNOMIAL) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "head.attention %d is no deal_attention", head.attention);
  }
  if (head.attention == DEAL_ATTENTION_POLYNOMIAL && monomials(classes) > kMaxMonomials) {
    fail(DEAL_ERROR_UNSUPPORTED, "polynomial attention takes at most 44 classes, not %lld",
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

// Ids beyond the count would be written outside the caller's buffers.
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
    if (r.difficulty.batch != r.logits.batch || r.difficulty.channels != 1) {
      fail(DEAL_ERROR_INVALID_ARGUMENT,
           "the difficulty has %lld images and %lld channels; it needs %lld and 1",
           ll(r.difficulty.batch), ll(r.difficulty.channels), ll(r.logits.batch));
    }
    r.grid_height = r.difficulty.height;
    r.grid_width = r.difficulty.width;
  } else if (in.head != nullptr) {
    out->head = read_struct(in.head, "deal_head");
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
      o.difficulty_mean || o.difficulty_min || o.difficulty_max ||
      o.difficulty_weighted_entropy_mean || o.difficulty_weighted_margin_mean ||
      o.difficulty_weighted_least_confidence_mean || o.difficulty_hist || o.difficulty_hist_image ||
      o.class_difficulty_sum || o.class_difficulty_weighted_entropy_sum ||
      o.region_difficulty_mean || o.region_difficulty_weighted_entropy_mean ||
      o.region_difficulty_weighted_margin_mean ||
      o.region_difficulty_weighted_least_confidence_mean || o.difficulty_grid || o.difficulty_map;
  if (difficulty && !r.has_difficulty()) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "a difficulty output is asked for without a head or a difficulty grid");
  }
}

// Tensors have to lie where the context computes; maps and masks cannot tell where they lie.
void check_device(const deal_context& context, const Request& r) {
  const int32_t device = context.cuda != nullptr ? DEAL_CUDA : DEAL_CPU;
  const char* const names[] = {"the CPU", "a CUDA device"};
  for (const TensorView* t : {&r.logits, &r.difficulty}) {
    if (t->data == nullptr || t->device == device) continue;
    fail(DEAL_ERROR_INVALID_ARGUMENT, "%s: on %s, but the context computes on %s",
         t == &r.logits ? "logits" : "difficulty", names[t->device], names[device]);
  }
  if (device == DEAL_CUDA && r.logits.batch > kMaxCudaBatch) {
    fail(DEAL_ERROR_UNSUPPORTED, "%lld images at a time; on a CUDA device at most %lld",
         ll(r.logits.batch), ll(kMaxCudaBatch));
  }
}

const Kernels& choose_kernels(int32_t isa) {
  bool avx2 = false;
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  avx2 =
      avx2_kernels() != nullptr && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  if (isa == DEAL_ISA_PORTABLE || (isa == DEAL_ISA_AUTO && !avx2)) return portable_kernels();
  if (isa != DEAL_ISA_AUTO && isa != DEAL_ISA_AVX2) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "isa %d is no deal_isa", isa);
  }
  if (!avx2) fail(DEAL_ERROR_UNSUPPORTED, "this processor has no AVX2 and FMA");
  return *avx2_kernels();
}

}  // namespace
}  // namespace deal

extern "C" {

DEAL_API int32_t deal_abi_version(void) { return DEAL_ABI_VERSION; }

DEAL_API const char* deal_version(void) { return DEAL_VERSION; }

DEAL_API const char* deal_build_info(void) {
  static char text[64];
  static const bool once = [] {
    const char* compiled = deal::avx2_kernels() != nullptr ? "portable,avx2" : "portable";
    snprintf(text, sizeof text, "isa=%s compiled=%s cuda=%s",
             deal::choose_kernels(DEAL_ISA_AUTO).name, compiled, deal::has_cuda() ? "yes" : "no");
    return true;
  }();
  (void)once;
  return text;
}

DEAL_API const char* deal_status_name(deal_status status) {
  switch (status) {
    case DEAL_OK:
      return "ok";
    case DEAL_ERROR_INVALID_ARGUMENT:
      return "invalid argument";
    case DEAL_ERROR_UNSUPPORTED:
      return "unsupported";
    case DEAL_ERROR_OUT_OF_MEMORY:
      return "out of memory";
    case DEAL_ERROR_DEVICE:
      return "device error";
    case DEAL_ERROR_INTERNAL:
      return "internal error";
  }
  return "unknown status";
}

DEAL_API const char* deal_last_error(void) { return deal::last_error; }

DEAL_API deal_status deal_context_create(const deal_context_options* options, deal_context** out) {
  return deal::guarded([&] {
    if (out == nullptr) deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "out is NULL");
    *out = nullptr;
    const auto o = deal::read_struct(options, "deal_context_options");
    auto context = std::make_unique<deal_context>();
    char line[96];
    if (o.device == DEAL_CUDA && deal::has_cuda()) {
      context->cuda = deal::make_cuda_scorer(o.device_index);
      snprintf(line, sizeof line, "deal: CUDA device %d", o.device_index);
    } else {
      if (o.device != DEAL_CPU) {
        deal::fail(DEAL_ERROR_UNSUPPORTED, "device %d: this build scores on the CPU only",
                   o.device);
      }
      if (o.threads < 0 || o.threads > 1024) {
        deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "%d threads; 0 (every core) to 1024", o.threads);
      }
      const int threads = o.threads == 0 ? deal::available_cores() : o.threads;
      const deal::Kernels& kernels = deal::choose_kernels(o.isa);
      context->cpu = std::make_unique<deal::CpuScorer>(threads, kernels);
      snprintf(line, sizeof line, "deal: %d threads, %s kernels", threads, kernels.name);
    }
    if (o.log != nullptr) o.log(o.log_user, line);
    *out = context.release();
  });
}

DEAL_API void deal_context_destroy(deal_context* context) { delete context; }

DEAL_API deal_status deal_output_sizes(const deal_input* input, deal_sizes* sizes) {
  return deal::guarded([&] {
    deal_sizes found = deal::read_struct(sizes, "deal_sizes");
    deal::Resolved resolved;
    deal::resolve(input, &resolved);
    const deal::Request& r = resolved.request;
    found.batch = r.logits.batch;
    found.classes = r.logits.channels;
    found.regions = r.region_count;
    found.grid_height = r.grid_height;
    found.grid_width = r.grid_width;
    memcpy(sizes, &found, std::min(found.struct_size, sizeof found));
  });
}

DEAL_API deal_status deal_reserve(deal_context* context, const deal_input* input) {
  return deal::guarded([&] {
    if (context == nullptr) deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "context is NULL");
    deal::Resolved resolved;
    deal::resolve(input, &resolved);
    deal::check_device(*context, resolved.request);
    if (context->cuda != nullptr) {
      context->cuda->reserve(resolved.request);
    } else {
      context->cpu->reserve(resolved.request);
    }
  });
}

DEAL_API deal_status deal_enqueue(deal_context* context, const deal_input* input,
                                  const deal_output* output, void* stream) {
  return deal::guarded([&] {
    if (context == nullptr) deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "context is NULL");
    if (context->cpu != nullptr && !context->cpu->alive()) {
      deal::fail(DEAL_ERROR_INVALID_ARGUMENT,
                 "the context was created before fork(); create one in this process");
    }
    deal::Resolved resolved;
    deal::resolve(input, &resolved);
    deal::check_device(*context, resolved.request);
    if (context->cuda == nullptr) deal::check_segments(resolved.request);
    const deal_output out = deal::read_struct(output, "deal_output");
    deal::check_outputs(resolved.request, out);
    if (context->cuda != nullptr) {
      context->cuda->enqueue(resolved.request, out, stream);
    } else {
      context->cpu->score(resolved.request, out);
    }
  });
}

DEAL_API deal_status deal_finish(deal_context* context) {
  return deal::guarded([&] {
    if (context == nullptr) deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "context is NULL");
    if (context->cuda != nullptr) context->cuda->finish();
  });
}

}  // extern "C"
