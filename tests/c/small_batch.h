/* What the C tests score: three small images of random logits, and how they count their checks. */
#ifndef DEAL_TESTS_SMALL_BATCH_H
#define DEAL_TESTS_SMALL_BATCH_H

#include <stdint.h>
#include <stdio.h>

#include "deal.h"

static _Atomic int passed = 0, failed = 0; /* some checks run in threads */

#define CHECK(condition)                                              \
  do {                                                                \
    if (condition) {                                                  \
      ++passed;                                                       \
    } else {                                                          \
      ++failed;                                                       \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
    }                                                                 \
  } while (0)

enum { B = 3, C = 5, h = 12, w = 16, H = 45, W = 61, CELL = 10, R = 5 * 7 };

static float logits_data[B * C * h * w];
static const float weight[C] = {0.5f, -1.0f, 2.0f, 0.0f, 1.5f};

static inline deal_tensor make_logits(void) {
  deal_tensor t = {
      sizeof t, logits_data, DEAL_FLOAT32, DEAL_CPU, 1, B, C, h, w, {0, C * h * w, h * w, w, 1}};
  return t;
}

static inline deal_head make_head(void) {
  deal_head head = {sizeof head, weight, C, 0.8f, -0.4f, 6, 8, DEAL_ATTENTION_AUTO};
  return head;
}

static inline deal_context* make_context(int threads) {
  deal_context_options options = {sizeof options};
  options.threads = threads;
  deal_context* context = NULL;
  CHECK(deal_context_create(&options, &context) == DEAL_OK);
  CHECK(context != NULL);
  return context;
}

static inline void fill_logits(void) {
  uint32_t state = 1;
  for (int i = 0; i < B * C * h * w; ++i) {
    state = state * 1664525u + 1013904223u;
    logits_data[i] = (float)(state >> 8) / 16777216.0f * 10.0f - 5.0f;
  }
}

static int report_checks(void) {
  printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}

#endif
