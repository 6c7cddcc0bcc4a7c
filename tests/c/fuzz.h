/* What the fuzzers of the C ABI share: draws, odd numbers, the memory of one case, and counts. */
#ifndef DEAL_TESTS_FUZZ_H
#define DEAL_TESTS_FUZZ_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deal.h"

static uint64_t state;

static uint64_t draw(void) { /* splitmix64 */
  uint64_t z = (state += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

static int64_t below(int64_t n) { return (int64_t)(draw() % (uint64_t)n); }
static int one_in(int64_t n) { return below(n) == 0; }

/* Numbers that overflow, divide by zero or are one beyond a limit. */
static int64_t odd_number(void) {
  static const int64_t numbers[] = {0,
                                    -1,
                                    1,
                                    2,
                                    256,
                                    257,
                                    64,
                                    65,
                                    INT32_MAX,
                                    INT32_MIN,
                                    INT64_MAX,
                                    INT64_MIN,
                                    1ll << 31,
                                    1ll << 32,
                                    INT32_MAX / 16,
                                    INT32_MAX / 2,
                                    65536,
                                    1ll << 62,
                                    -2,
                                    UINT32_MAX};
  return numbers[below((int64_t)(sizeof numbers / sizeof *numbers))];
}

static float odd_float(void) {
  static const float numbers[] = {NAN,   INFINITY, -INFINITY, 1e37f,  -1e37f, 3.4e38f, -3.4e38f,
                                  1e15f, -1e15f,   1.1e15f,   1e-45f, -0.0f,  1e-38f};
  return numbers[below((int64_t)(sizeof numbers / sizeof *numbers))];
}

static float some_float(void) { return (float)((double)(draw() >> 11) * 0x1p-53 * 20.0 - 10.0); }

/* ---- memory of one case ---- */

enum { MOST_BLOCKS = 128 };
static void* blocks[MOST_BLOCKS];
static int num_blocks;

static void* block(size_t bytes) {
  void* p = malloc(bytes ? bytes : 1);
  if (p == NULL || num_blocks == MOST_BLOCKS) abort();
  memset(p, 0xA5, bytes);
  return blocks[num_blocks++] = p;
}

static void free_blocks(void) {
  while (num_blocks) free(blocks[--num_blocks]);
}

/* ---- results ---- */

static void check(int truth, const char* what) {
  if (truth) return;
  fprintf(stderr, "not true of the results: %s\n", what);
  abort();
}

static long statuses[6];

static void count(deal_status status) {
  check((int)status >= 0 && status <= DEAL_ERROR_INTERNAL, "a deal_status");
  check(status == DEAL_OK || deal_last_error()[0] != '\0', "an error has a text");
  check(status != DEAL_ERROR_INTERNAL, "no internal error");
  ++statuses[status];
}

#endif
