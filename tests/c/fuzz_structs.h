/* Random structs of requests, right and wrong, in allocations of exactly their size. */
#ifndef DEAL_TESTS_FUZZ_STRUCTS_H
#define DEAL_TESTS_FUZZ_STRUCTS_H

#include "fuzz.h"

static int is_quantised(const deal_tensor* t) {
  return t->dtype == DEAL_INT8 || t->dtype == DEAL_UINT8;
}

/* Elements in any order of the axes, reversed, repeated or with gaps; one allocation of just what
 * the strides reach. */
static deal_tensor tensor(int64_t members, int64_t batch, int64_t channels, int64_t height,
                          int64_t width) {
  const int64_t shape[5] = {members, batch, channels, height, width};
  deal_tensor t = {sizeof t};
  t.dtype = (int32_t)below(5);
  t.members = members == 1 && one_in(2) ? 0 : members;
  t.batch = batch, t.channels = channels, t.height = height, t.width = width;
  int order[5] = {0, 1, 2, 3, 4};
  if (one_in(3)) {
    for (int i = 4; i > 0; --i) {
      const int j = (int)below(i + 1), kept = order[i];
      order[i] = order[j], order[j] = kept;
    }
  }
  int64_t step = 1, lowest = 0, highest = 0;
  for (int i = 4; i >= 0; --i) {
    const int axis = order[i];
    int64_t stride = step + (one_in(8) ? below(4) : 0);
    if (one_in(12)) stride = 0;
    if (stride) step = stride * shape[axis];
    if (one_in(10)) stride = -stride;
    const int64_t reach = stride * (shape[axis] - 1);
    *(reach < 0 ? &lowest : &highest) += reach;
    if (shape[axis] == 1 && one_in(6)) stride = odd_number(); /* never taken */
    t.stride[axis] = stride;
  }
  const int64_t count = highest - lowest + 1;
  const int odd = one_in(10);
  if (t.dtype == DEAL_FLOAT32) {
    float* data = block((size_t)count * sizeof *data);
    for (int64_t i = 0; i < count; ++i) data[i] = odd && one_in(20) ? odd_float() : some_float();
    t.data = data - lowest;
  } else if (is_quantised(&t)) {
    uint8_t* data = block((size_t)count);
    for (int64_t i = 0; i < count; ++i) data[i] = (uint8_t)draw();
    t.data = data - lowest;
    t.scale = odd && one_in(2) ? odd_float() : 0.05f * (float)(1 + below(9));
    t.zero_point = (int32_t)below(256) - (t.dtype == DEAL_INT8 ? 128 : 0);
    if (odd && one_in(2)) t.zero_point = (int32_t)odd_number();
  } else {
    uint16_t* data = block((size_t)count * sizeof *data);
    /* Any bits at all where odd; else numbers of a middling exponent, of either format. */
    for (int64_t i = 0; i < count; ++i) {
      const uint16_t bits = (uint16_t)draw();
      const uint16_t exponent = t.dtype == DEAL_FLOAT16 ? 0x4000 : 0x3F80;
      data[i] = odd ? bits : (uint16_t)((bits & 0x83FF) | exponent);
    }
    t.data = data - lowest;
  }
  if (one_in(2)) {
    t.size_bytes = count * (t.dtype == DEAL_FLOAT32 ? 4 : is_quantised(&t) ? 1 : 2);
  }
  if (one_in(30)) {
    switch (below(8)) {
      case 0:
        t.struct_size = (size_t)below((int64_t)sizeof t + 40);
        break;
      case 1:
        t.data = NULL;
        break;
      case 2:
        t.data = (const char*)t.data + 1;
        break;
      case 3:
        t.dtype = (int32_t)odd_number();
        break;
      case 4:
        t.device = (int32_t)odd_number();
        break;
      case 5:
        t.members = one_in(2) ? -1 - below(9) : DEAL_MAX_MEMBERS + 1 + below(9);
        break;
      case 6:
        t.batch = -below(3);
        break;
      default:
        *(one_in(2) ? &t.height : &t.width) = one_in(2) ? -below(5) : INT64_MAX - below(3);
    }
    /* What remains has to be refused or lie within the allocation; a shorter struct may do neither.
     */
    if (t.struct_size != sizeof t && t.struct_size >= sizeof(size_t)) t.struct_size = 0;
    if (t.dtype == DEAL_FLOAT32 && (uintptr_t)t.data % 4 == 0 && t.data) t.dtype = 77;
    if (t.dtype != DEAL_FLOAT32 && t.data) t.dtype = -1;
  }
  return t;
}

static const float* weights(int64_t count, int odd) {
  float* w = block((size_t)count * sizeof *w);
  for (int64_t i = 0; i < count; ++i) w[i] = odd && one_in(8) ? odd_float() : some_float();
  return w;
}

static deal_head random_head(int64_t classes) {
  const int odd = one_in(20);
  deal_head head = {sizeof head, weights(classes, odd), classes};
  head.gamma = odd && one_in(3) ? odd_float() : some_float();
  head.bias = odd && one_in(3) ? odd_float() : some_float();
  if (!one_in(4)) head.grid_height = 1 + below(5), head.grid_width = 1 + below(5);
  head.attention = (int32_t)below(3);
  if (one_in(3)) head.uncertainty_weight = weights(classes, odd);
  if (one_in(30)) {
    switch (below(6)) {
      case 0:
        head.struct_size = (size_t)below((int64_t)sizeof head + 40);
        break;
      case 1:
        head.weight = NULL;
        break;
      case 2:
        head.channels = one_in(2) ? odd_number() : classes - 1;
        break;
      case 3:
        head.grid_height = odd_number() | INT64_MIN;
        break; /* negative */
      case 4:
        head.grid_width = INT64_MAX - below(9);
        break;
      default:
        head.attention = (int32_t)odd_number();
    }
  }
  return head;
}

static deal_regions random_regions(int64_t batch, int64_t height, int64_t width) {
  deal_regions regions = {sizeof regions, (int32_t)below(3)};
  regions.cell = 1 + below(12);
  const int cut = one_in(300); /* then shared may be cut off, and counts as 0 */
  if (regions.kind == DEAL_REGIONS_SEGMENTS) {
    regions.shared = cut ? 0 : (int32_t)below(2);
    regions.count = 1 + below(9);
    const int64_t n = (regions.shared ? 1 : batch) * height * width;
    int32_t* map = block((size_t)n * sizeof *map);
    const int odd = one_in(20);
    for (int64_t i = 0; i < n; ++i) {
      map[i] = odd && one_in(9) ? (int32_t)odd_number() : (int32_t)below(regions.count + 1) - 1;
    }
    regions.map = map;
  }
  if (cut) regions.struct_size = (size_t)below((int64_t)sizeof regions + 40);
  if (one_in(30)) {
    switch (1 + below(4)) {
      case 1:
        regions.kind = (int32_t)odd_number() | 4;
        break;
      case 2:
        regions.cell = one_in(2) ? -below(9) : INT64_MAX - below(9);
        break;
      case 3:
        regions.map =
            regions.map ? (const int32_t*)(const void*)((const char*)regions.map + 1) : NULL;
        break;
      default:
        regions.count = one_in(2) ? -below(9) : (int64_t)INT32_MAX + 1 + below(9);
    }
  }
  return regions;
}

#endif
