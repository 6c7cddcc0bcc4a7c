// The working memory of a request: what a thread needs for its rows, what an image needs.
#pragma once

#include <stdint.h>

#include <vector>

#include "cpu/attention_cpu.h"
#include "cpu/contours.h"
#include "cpu/memory.h"
#include "abi/request.h"
#include "cpu/row_source.h"
#include "cpu/sums.h"
#include "cpu/tap_arrays.h"

namespace deal {

// What one thread needs for its rows.
struct RowWorkspace {
  RowSource logits, grid;
  float* probabilities;  // [C, probability_stride]: of one row of the attention grid
  float* value;          // [gw]: its v
  int64_t probability_stride;
  float* planes;                          // [kRowsAtOnce, 3, W + kPad]
  uint8_t* levels;                        // likewise
  uint8_t* flags;                         // [W]
  RowSource members[DEAL_MAX_MEMBERS];    // with a committee
  int32_t* committee_values[kCommittee];  // [W], with a committee
  Sums sums;

  void carve(Carver& carver, const Request& r) {
    logits.carve(carver, r.logits.channels, r.logits.width);
    grid.carve(carver, 1, r.grid_width);
    probability_stride = r.grid_width + kPad;
    probabilities =
        carver.take<float>(r.head != nullptr ? r.logits.channels * probability_stride : 0);
    value = carver.take<float>(r.grid_width);
    planes = carver.take<float>(kRowsAtOnce * 3 * (r.width + kPad));
    levels = carver.take<uint8_t>(kRowsAtOnce * 3 * (r.width + kPad));
    flags = carver.take<uint8_t>(r.width);
    const bool committee = r.logits.members > 1;
    for (int64_t m = 0; committee && m < r.logits.members; ++m) {
      members[m].carve(carver, r.logits.channels, r.logits.width);
    }
    for (auto& values : committee_values) values = carver.take<int32_t>(committee ? r.width : 0);
    sums.carve(carver, r);
  }
};

// What one image needs.
struct ImageWorkspace {
  AttentionArrays attention;
  float* grid;        // [gh * gw] before the sigmoid, when it is given
  float* difficulty;  // [H, stride]
  uint8_t* labels;    // [H, stride]
  int64_t stride;
  Contours contours;

  // Threads use it by their slots: all of them, or just one that works on it alone.
  void carve(Carver& carver, const Request& r, int slots, bool alone) {
    attention = {};
    if (r.head != nullptr) attention.carve(carver, r, slots);
    const bool given = r.difficulty.data != nullptr;
    grid = carver.take<float>(given ? r.grid_height * r.grid_width : 0);
    stride = r.width + kPad;
    difficulty = carver.take<float>(r.has_difficulty() ? r.height * stride : 0);
    labels = carver.take<uint8_t>(r.height * stride);
    contours.carve(carver, r, alone ? 1 : slots);
  }
};

// The memory of a request, and the positions of its three resizes.
struct Workspace {
  TapArrays logits_x, logits_y;        // logits -> raster
  TapArrays grid_x, grid_y;            // grid -> raster
  TapArrays cell_x, cell_y;            // logits -> grid
  int32_t* grid_columns;               // [W]: column of cells, for regions on a grid
  float* vote_terms;                   // [M + 1]: -(n/M) log(n/M)
  std::vector<RowWorkspace> rows;      // one a thread
  std::vector<ImageWorkspace> images;  // one an image in work: one, or one a thread

  explicit Workspace(int threads)
      : rows(static_cast<size_t>(threads)), images(static_cast<size_t>(threads)) {}

  void carve(Carver& carver, const Request& r) {
    logits_x.carve(carver, r.width);
    logits_y.carve(carver, r.height);
    if (r.has_difficulty()) {
      grid_x.carve(carver, r.width);
      grid_y.carve(carver, r.height);
    }
    if (r.head != nullptr) {
      cell_x.carve(carver, r.grid_width);
      cell_y.carve(carver, r.grid_height);
    }
    const bool cells = r.region_kind == DEAL_REGIONS_GRID;
    grid_columns = cells ? carver.take<int32_t>(r.width) : nullptr;
    vote_terms = carver.take<float>(r.logits.members + 1);
    for (auto& row : rows) row.carve(carver, r);
    for (int i = 0; i < images_in_work(r); ++i) {
      images[i].carve(carver, r, static_cast<int>(rows.size()), images_in_work(r) > 1);
    }
  }
  // Many images: one a thread. Few: one after the other, its rows over all threads.
  int images_in_work(const Request& r) const {
    const int threads = static_cast<int>(rows.size());
    return r.logits.batch >= threads ? threads : 1;
  }
  void fill(const Request& r) {
    logits_x.fill(r.logits.width, r.width, r.align_corners);
    logits_y.fill(r.logits.height, r.height, r.align_corners);
    if (r.has_difficulty()) {
      grid_x.fill(r.grid_width, r.width, r.align_corners);
      grid_y.fill(r.grid_height, r.height, r.align_corners);
    }
    if (r.head != nullptr) {
      cell_x.fill(r.logits.width, r.grid_width, r.align_corners);
      cell_y.fill(r.logits.height, r.grid_height, r.align_corners);
    }
    for (int64_t n = 0; n <= r.logits.members; ++n) vote_terms[n] = vote_term(n, r.logits.members);
    if (grid_columns != nullptr) {
      for (int64_t x = 0; x < r.width; ++x) {
        grid_columns[x] = static_cast<int32_t>(x / r.region_cell);
      }
    }
  }
};

}  // namespace deal
