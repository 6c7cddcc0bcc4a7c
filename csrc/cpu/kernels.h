// The loops of the CPU kernel behind a table of functions, one table an instruction set.
// Plain structs and pointers only: this header is included by code of every instruction set.
#pragma once

#include <stdint.h>

#include "pixel/records.h"

namespace deal {

constexpr int kHistogramCopies = 4;  // neighbouring pixels count in different ones
constexpr int kRowsAtOnce = 4;       // rows of the raster scored together

// The two source rows [C, stride] that a row of the raster lies between, one twice where it
// lies on it or beyond the last: a sample is upper + weight * (lower - upper), of both rows resized
// sideways.
struct Between {
  const float *upper, *lower;
  int64_t stride;
  float weight;
};

// One row of the raster: logits and difficulty in, labels out, the rest added to sums.
struct PixelRow {
  int64_t width;
  int32_t classes;
  Between logits;
  Taps taps;
  const float* difficulty;  // [W] or NULL
  float inverse_log_classes;
  float difficulty_low, inverse_range;  // of the image's own difficulty; 0: a constant map
  const uint8_t* mask;                  // [W] or NULL
  const int32_t* regions;               // [W] or NULL; negative: none
  int64_t region_offset;
  uint8_t* labels;            // [W]
  float* planes;              // [3, W + kPad], like levels for the time of the call
  uint8_t* levels;            // [3, W + kPad]
  int64_t* class_sums;        // [C, 8]
  int64_t* region_sums;       // [R, 8]
  uint32_t* region_classes;   // [R, C]
  uint32_t* entropy_hist;     // [kHistogramCopies, 240]; their sum counts
  uint32_t* difficulty_hist;  // likewise
  uint32_t* image_hist;

  float* plane(int k) const { return planes + k * (width + kPad); }
  uint8_t* level_row(int k) const { return levels + k * (width + kPad); }
};

// One row of the raster: logits of the members in, fixed-point values out.
struct CommitteeRow {
  int64_t width;
  int32_t classes, members;
  const Between* logits;  // [M]
  Taps taps;
  const float* vote_terms;      // [M + 1]: of n votes for a class, -(n/M) log(n/M)
  int32_t* values[kCommittee];  // of [W]; mutual information may be rounded below zero
};

// What the elements of a tensor stand for: dtype is a deal_dtype, the rest is of integers.
struct Encoding {
  int32_t dtype;
  float scale;
  int32_t zero_point;
};

struct Kernels {
  const char* name;

  // n values of a row as floats within +-1e37; step in elements.
  void (*load_row)(const void* source, const Encoding& encoding, int64_t step, float* out,
                   int64_t n);
  int64_t (*count_nonfinite)(const void* source, int32_t dtype, int64_t step, int64_t n);

  // out = sigmoid(resize(row)); returns the smallest and largest unmasked value.
  void (*difficulty_row)(const Between& row, Taps taps, const uint8_t* mask, float* out, int64_t n,
                         float* low, float* high);
  // At most kRowsAtOnce rows between the same two source rows.
  void (*pixel_rows)(const PixelRow* rows, int count);
  void (*committee_row)(const CommitteeRow& row);
  // Flags pixels with a 4-neighbour of another class. NULL rows are outside.
  void (*boundary_row)(const uint8_t* const labels[3], const uint8_t* const masks[3],
                       uint8_t* flags, int64_t n);

  // Softmax over the classes of n cells: p [C, stride]; value is the cell's v.
  void (*softmax_row)(const Between& row, Taps taps, int32_t classes, const float* weight,
                      const float* uncertainty_weight, float* p, int64_t stride, float* value,
                      int64_t n);

  // Attention averages sum_i k_ji u_i / sum_i k_ji of the cells begin...end.
  // rows [cells, C] are p once more, cell by cell.
  void (*attention_direct)(const float* p, int64_t stride, int32_t classes, const float* rows,
                           const float* u, int64_t cells, int64_t begin, int64_t end,
                           float* average);
  // Moments of a chunk of cells: sum of each monomial, and of each monomial times u: [2, terms].
  void (*moments)(const float* p, int64_t stride, int32_t classes, const float* u, const float* one,
                  int64_t begin, int64_t end, float* scratch, float* out);
  void (*polynomial)(const float* p, int64_t stride, int32_t classes, const float* coefficients,
                     int64_t begin, int64_t end, float* average);

  // The least of `bound` and of the squared distances of row * scale [width] to the centers
  // *next...end-1, [., stride] padded with zeros to a multiple of 16 columns. Stops early once that
  // is below `enough`; *next becomes the first center not looked at.
  float (*nearest_center)(const float* row, float scale, int64_t width, const float* centers,
                          int64_t stride, int64_t* next, int64_t end, float bound, float enough);
};

const Kernels& portable_kernels();
// NULL where the compiler cannot build them.
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();
const Kernels* neon_kernels();
// By deal_isa; throws Failure where the processor or the build lacks it.
const Kernels& choose_kernels(int32_t isa);

}  // namespace deal
