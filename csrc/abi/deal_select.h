/*
 * deal_select.h - images far from each other, among vectors that describe them. C ABI, C11.
 *
 * Usage, in C or C++
 *
 *     static float features[1000 * 64];  // embeddings of 1000 images
 *     deal_k_center_options options;
 *     DEAL_INIT(options);
 *     options.features = features, options.rows = 1000, options.width = 64;
 *     options.threads = 1;
 *
 *     int64_t picks[10];
 *     double distances[10];
 *     if (deal_k_center(&options, 10, picks, distances) != DEAL_OK) puts(deal_last_error());
 *
 * Rules
 *   - K-center greedy, the core-set method (Sener & Savarese, arXiv 1708.00489; Gonzalez 1985):
 * each pick is the row farthest from all centers and picks so far, the lowest of equals.
 *   - Picks and distances have the bits of Python's core-set, for any number of threads and on
 * every processor. Takes memory, about that of the picks' features; starts threads unless threads
 * is 1.
 */
#ifndef DEAL_SELECT_H
#define DEAL_SELECT_H

#include "deal.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum deal_metric { DEAL_COSINE = 0, DEAL_EUCLIDEAN = 1 } deal_metric;

typedef struct deal_k_center_options {
  size_t struct_size;
  const float* features; /* [rows, width], C-contiguous, finite where candidates and centers are */
  int64_t rows;          /* 1 to 2^26 */
  int64_t width;
  int32_t metric;            /* deal_metric; cosine: 1 - the cosine of two rows */
  int32_t threads;           /* 0: every core this process may use */
  const uint8_t* candidates; /* [rows], 0: may not be picked; NULL: every row but the centers */
  const int64_t* centers;    /* [center_count] rows that are already taken, as labeled images are */
  int64_t center_count;
  int32_t has_first; /* 0: without centers the first pick is the row nearest the mean */
  int32_t isa;       /* deal_isa */
  int64_t first;     /* a candidate, the first pick if has_first is 1 */
} deal_k_center_options;

/* Picks count rows: picks [count] in their order, and distances [count] of each to the nearest
 * center or pick before it, infinite where there was none; NULL: not wanted. */
DEAL_API deal_status deal_k_center(const deal_k_center_options* options, int64_t count,
                                   int64_t* picks, double* distances);

#ifdef __cplusplus
}
#endif
#endif /* DEAL_SELECT_H */
