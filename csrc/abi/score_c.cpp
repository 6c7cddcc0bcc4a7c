// The C ABI of scores and signatures.
#include "abi/deal.h"
#include "abi/guard.h"
#include "abi/validate.h"
#include "cpu/scores.h"
#include "cpu/thumbnail.h"

extern "C" {

DEAL_API deal_status deal_acquisition_find(const char* name, int32_t* kind) {
  return deal::guarded([&] {
    if (name == nullptr || kind == nullptr) {
      deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "name or kind is NULL");
    }
    const int32_t found = deal::acquisition_kind(name);
    if (found < 0) {
      deal::fail(DEAL_ERROR_INVALID_ARGUMENT,
                 "no acquisition function '%.80s' scores one image; see docs/acquisition.md", name);
    }
    *kind = found;
  });
}

DEAL_API deal_status deal_score(const deal_acquisition* acquisition, const deal_output* output,
                                int64_t batch, double* scores) {
  return deal::guarded([&] {
    deal_acquisition a = deal::read_struct(acquisition, "deal_acquisition");
    const deal_output o = deal::read_struct(output, "deal_output");
    if (scores == nullptr || batch < 1) {
      deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "scores is NULL, or there is no image");
    }
    if (a.levels == 0) a.levels = 8;
    if (a.tail == 0.0) a.tail = 0.05;
    deal::check_acquisition(a, o);
    for (int64_t b = 0; b < batch && a.kind == DEAL_RANDOM; ++b) {
      if (a.ids[b] == nullptr) {
        deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "ids[%lld] is NULL", deal::ll(b));
      }
    }
    for (int64_t b = 0; b < batch; ++b) scores[b] = deal::acquisition_score(a, o, b);
  });
}

DEAL_API deal_status deal_thumbnail(const uint8_t* rgb, const int64_t* stride, int64_t height,
                                    int64_t width, uint8_t* out) {
  return deal::guarded([&] {
    if (rgb == nullptr || out == nullptr) {
      deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "rgb or out is NULL");
    }
    if (height < 1 || width < 1 || height > INT32_MAX || width > INT32_MAX) {
      deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "the image is %lld x %lld", deal::ll(height),
                 deal::ll(width));
    }
    const int64_t packed[3] = {3 * width, 3, 1};
    deal::make_thumbnail(rgb, stride == nullptr ? packed : stride, height, width, out);
  });
}

DEAL_API int64_t deal_thumbnail_difference(const uint8_t* a, const uint8_t* b) {
  return deal::thumbnail_difference(a, b);
}

}  // extern "C"
