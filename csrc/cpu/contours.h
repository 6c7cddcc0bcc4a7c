// Lines between predicted classes, simplified: what an annotator would have to draw.
//
// Between two 4-adjacent unmasked pixels of different classes lies a crack. Cracks meet at vertices
// (y, x), the top left corners of pixels. Where not exactly two meet, at junctions and ends, cracks
// are cut into chains; what is left are closed rings. Each is simplified after Douglas and Peucker
// (1973), within 1.5 pixels; all of it in exact integers but the length of a segment.
//
// Threads trace bands of rows, each the lines that stay within its band. The lines that cross from
// one band to another are marked and traced afterwards, by one thread. How a line is simplified
// depends on where it begins: at that of its ends which comes first by rows, or a ring at its
// topmost vertex. That is the same vertex in a band as in the image, so bands change no bit.
#pragma once

#include <stdint.h>

#include "cpu/memory.h"
#include "abi/request.h"
#include "cpu/team.h"

namespace deal {

// Predicted classes of an image, its mask and its regions.
struct ClassMap {
  const Request& request;
  int64_t image;
  const uint8_t* labels;  // [H, stride]
  int64_t stride;
  const int32_t* grid_columns;  // [W], for regions on a grid

  const uint8_t* label_row(int64_t y) const { return labels + y * stride; }
  // -1: outside the raster, masked or in no region.
  int64_t region(int64_t y, int64_t x) const;
};

class Contours {
 public:
  // For a team of that many threads.
  void carve(Carver& carver, const Request& request, int slots);
  // Finds and sums up all lines of an image; the team's slots are first...first + slots - 1.
  void trace(const ClassMap& map, Team& team, int first);
  void write(const deal_output& out, int64_t b, bool good) const;

 private:
  // What a thread sums up; lengths in 2^-24 pixels.
  struct Sums {
    int64_t length, corners;
    int64_t *region_length, *region_corners;  // [R]
  };
  class Tracer;

  void find_cracks(const ClassMap& map, int64_t y0, int64_t y1);
  Sums sums_of(int slot) const;

  uint8_t* vertices_;  // [H + 1, stride_]: its cracks, one bit a direction, kJunction, kCrossing
  uint8_t* chain_;     // [H + 1, stride_]: direction of each crack, kKept at kept points
  int64_t* sums_;      // [slots_, 2 + 2 R, padded]: length, corners, both of each region
  int64_t stride_, regions_;
  int slots_;
};

}  // namespace deal
