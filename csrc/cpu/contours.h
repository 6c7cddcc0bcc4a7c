// Lines between predicted classes, simplified: what an annotator would have to draw.
//
// Between two 4-adjacent unmasked pixels of different classes lies a crack. Cracks meet at vertices
// (y, x), the top left corners of pixels. Where not exactly two meet, at junctions and ends, cracks
// are cut into chains; what is left are closed rings. Each is simplified after Douglas and Peucker
// (1973), within 1.5 pixels; all of it in exact integers but the length of a segment.
#pragma once

#include <stdint.h>

#include "cpu/memory.h"
#include "abi/request.h"

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
  void carve(Carver& carver, const Request& request);
  // Finds the cracks at the vertices of rows y0...y1 - 1, of H + 1.
  void find_cracks(const ClassMap& map, int64_t y0, int64_t y1);
  // Sums up the chains of all cracks found, which are gone after that.
  void trace(const ClassMap& map);
  void write(const deal_output& out, int64_t b, bool good) const;

 private:
  void follow(const ClassMap& map, int64_t y, int64_t x, uint8_t direction);
  void simplify(const ClassMap& map, int64_t y, int64_t x, int64_t cracks, bool closed);
  void add_corner(const ClassMap& map, int64_t y, int64_t x);
  void add_segment(const ClassMap& map, int64_t y, int64_t x, int64_t first, int64_t last,
                   int64_t square);

  uint8_t* vertices_;  // [H + 1, stride_]: its cracks, one bit a direction, and kJunction
  uint8_t* chain_;     // [(H + 1) * (W + 1) + 1]: direction of each crack, kKept at kept points
  int64_t *region_length_, *region_corners_;  // [R]
  int64_t stride_, regions_;
  int64_t length_, corners_;  // lengths in 2^-24 pixels
};

}  // namespace deal
