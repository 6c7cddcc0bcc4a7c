// The C ABI: guards (no exception crosses) and dispatches what validate.cpp accepted.
#include "abi/deal.h"

#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <memory>

#include "cpu/components.h"
#include "cpu/kernels.h"
#include "abi/guard.h"
#include "abi/request.h"
#include "abi/validate.h"
#include "cpu/statistics_cpu.h"
#include "cuda/statistics_cuda.h"
#include "cpu/thread_pool.h"

#ifndef DEAL_VERSION
#define DEAL_VERSION "unknown"
#endif

struct deal_context {  // one of the two
  std::unique_ptr<deal::CpuScorer> cpu;
  std::unique_ptr<deal::CudaScorer> cuda;
};

namespace deal {

thread_local char last_error[512] = "";

namespace {

// Tensors have to lie where the context computes; maps and masks cannot tell where they lie.
void check_device(const deal_context& context, const Request& r) {
  const int32_t device = context.cuda != nullptr ? DEAL_CUDA : DEAL_CPU;
  const char* const names[] = {"the CPU", "a CUDA device"};
  for (const TensorView* t : {&r.logits, &r.difficulty}) {
    if (t->data == nullptr) continue;
    if (device == DEAL_CUDA && t->element_size == 1) {
      fail(DEAL_ERROR_UNSUPPORTED,
           "int8 and uint8 are scored on the CPU alone: let the network give floats");
    }
    if (t->device == device) continue;
    fail(DEAL_ERROR_INVALID_ARGUMENT, "%s: on %s, but the context computes on %s",
         t == &r.logits ? "logits" : "difficulty", names[t->device], names[device]);
  }
  if (device == DEAL_CUDA && r.logits.batch > kMaxCudaBatch) {
    fail(DEAL_ERROR_UNSUPPORTED, "%lld images at a time; on a CUDA device at most %lld",
         ll(r.logits.batch), ll(kMaxCudaBatch));
  }
}

}  // namespace

}  // namespace deal

extern "C" {

DEAL_API int32_t deal_abi_version(void) { return DEAL_ABI_VERSION; }

DEAL_API const char* deal_version(void) { return DEAL_VERSION; }

DEAL_API const char* deal_build_info(void) {
  static char text[64];
  static const bool once = [] {
    snprintf(text, sizeof text, "isa=%s compiled=portable%s%s%s cuda=%s",
             deal::choose_kernels(DEAL_ISA_AUTO).name, deal::avx2_kernels() ? ",avx2" : "",
             deal::avx512_kernels() ? ",avx512" : "", deal::neon_kernels() ? ",neon" : "",
             deal::has_cuda() ? "yes" : "no");
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
    if (o.threads < 0 || o.threads > 1024) {
      deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "%d threads; 0 (every core) to 1024", o.threads);
    }
    const int threads = o.threads == 0 ? deal::available_cores() : o.threads;
    const deal::ThreadPool::Start start = {o.on_thread_start, o.thread_user};
    if (o.device == DEAL_CUDA && deal::has_cuda()) {
      context->cuda = deal::make_cuda_scorer(o.device_index, threads, start);
      snprintf(line, sizeof line, "deal: CUDA device %d, %d threads", o.device_index, threads);
    } else {
      if (o.device != DEAL_CPU) {
        deal::fail(DEAL_ERROR_UNSUPPORTED, "device %d: this build scores on the CPU only",
                   o.device);
      }
      const deal::Kernels& kernels = deal::choose_kernels(o.isa);
      context->cpu = std::make_unique<deal::CpuScorer>(threads, kernels, start);
      snprintf(line, sizeof line, "deal: %d threads, %s kernels", threads, kernels.name);
    }
    if (o.log != nullptr) o.log(o.log_user, line);
    *out = context.release();
  });
}

DEAL_API void deal_context_destroy(deal_context* context) { delete context; }

DEAL_API deal_status deal_context_count(const deal_context* context,
                                        deal_context_counters* counters) {
  return deal::guarded([&] {
    if (context == nullptr) deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "context is NULL");
    const size_t struct_size = deal::read_struct(counters, "deal_context_counters").struct_size;
    deal_context_counters found =
        context->cuda != nullptr ? context->cuda->counters() : context->cpu->counters();
    found.struct_size = struct_size;
    memcpy(counters, &found, std::min(struct_size, sizeof found));
  });
}

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

DEAL_API deal_status deal_components(const int32_t* map, int64_t height, int64_t width,
                                     int64_t min_pixels, int32_t* ids, int64_t* count) {
  return deal::guarded([&] {
    if (map == nullptr || ids == nullptr || count == nullptr) {
      deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "map, ids or count is NULL");
    }
    if (height < 1 || width < 1 || height > INT32_MAX / width) {
      deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "the map is %lld x %lld; 1 to 2^31 - 1 pixels",
                 deal::ll(height), deal::ll(width));
    }
    *count = deal::label_components(map, height, width, min_pixels, ids);
  });
}

}  // extern "C"
