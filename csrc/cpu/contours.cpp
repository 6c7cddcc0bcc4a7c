#include "cpu/contours.h"

#include <math.h>
#include <string.h>

#include <algorithm>

namespace deal {
namespace {

constexpr double kUnits = 16777216.0;  // 2^24
constexpr double kTolerance = 1.5;     // pixels

// Directions 0...3 from a vertex: right, down, left, up.
constexpr int64_t kStepX[4] = {1, 0, -1, 0};
constexpr int64_t kStepY[4] = {0, 1, 0, -1};
constexpr uint8_t kCracks = 15;    // a bit a direction
constexpr uint8_t kJunction = 16;  // chains end here
constexpr uint8_t kKept = 16;      // in a chain: its point here is kept

uint8_t vertex(int right, int down, int left, int up) {
  const int count = right + down + left + up;
  const int junction = (count == 1) | (count > 2);
  return static_cast<uint8_t>(right | down << 1 | left << 2 | up << 3 | junction << 4);
}

// One row of vertices between two rows of pixels. Without a mask every pixel is kept.
template <bool kMasked>
void vertex_row(const uint8_t* above, const uint8_t* below, const uint8_t* above_mask,
                const uint8_t* below_mask, uint8_t* out, int64_t width) {
  const auto crack = [](const uint8_t* a, const uint8_t* a_mask, int64_t i, const uint8_t* b,
                        const uint8_t* b_mask, int64_t j) -> int {
    if constexpr (kMasked) return (a[i] != b[j]) & (a_mask[i] != 0) & (b_mask[j] != 0);
    (void)a_mask, (void)b_mask;
    return a[i] != b[j];
  };
  const auto across = [&](int64_t x) -> int {
    return crack(above, above_mask, x, below, below_mask, x);
  };
  out[0] = vertex(across(0), 0, 0, 0);
  out[width] = vertex(0, 0, across(width - 1), 0);
  for (int64_t x = 1; x < width; ++x) {
    out[x] = vertex(across(x), crack(below, below_mask, x - 1, below, below_mask, x), across(x - 1),
                    crack(above, above_mask, x - 1, above, above_mask, x));
  }
}

// The first or last row of vertices: cracks come from one row of pixels, all of them end.
void border_row(const uint8_t* labels, const uint8_t* mask, int bit, uint8_t* out, int64_t width) {
  out[0] = out[width] = 0;
  for (int64_t x = 1; x < width; ++x) {
    const bool kept = mask == nullptr || (mask[x - 1] != 0 && mask[x] != 0);
    out[x] = labels[x - 1] != labels[x] && kept ? static_cast<uint8_t>(bit | kJunction) : 0;
  }
}

}  // namespace

int64_t ClassMap::region(int64_t y, int64_t x) const {
  const Request& r = request;
  if (y < 0 || x < 0 || y >= r.height || x >= r.width) return -1;
  if (r.mask != nullptr && r.mask_row(image, y)[x] == 0) return -1;
  if (r.segments != nullptr) return r.segment_row(image, y)[x];
  return y / r.region_cell * r.region_columns + grid_columns[x];
}

void Contours::carve(Carver& carver, const Request& r) {
  stride_ = r.width + kPad;
  regions_ = r.region_count;
  vertices_ = carver.take<uint8_t>((r.height + 1) * stride_);
  chain_ =
      carver.take<uint8_t>((r.height + 1) * (r.width + 1) + 1);  // a chain meets no vertex twice
  region_length_ = carver.take<int64_t>(regions_);
  region_corners_ = carver.take<int64_t>(regions_);
}

void Contours::find_cracks(const ClassMap& map, int64_t y0, int64_t y1) {
  const Request& r = map.request;
  for (int64_t y = y0; y < y1; ++y) {
    uint8_t* const out = vertices_ + y * stride_;
    if (y == 0) {
      border_row(map.label_row(0), r.mask_row(map.image, 0), 1 << 1, out, r.width);
    } else if (y == r.height) {
      border_row(map.label_row(y - 1), r.mask_row(map.image, y - 1), 1 << 3, out, r.width);
    } else if (r.mask == nullptr) {
      vertex_row<false>(map.label_row(y - 1), map.label_row(y), nullptr, nullptr, out, r.width);
    } else {
      vertex_row<true>(map.label_row(y - 1), map.label_row(y), r.mask_row(map.image, y - 1),
                       r.mask_row(map.image, y), out, r.width);
    }
    memset(out + r.width + 1, 0, static_cast<size_t>(stride_ - r.width - 1));
  }
}

void Contours::trace(const ClassMap& map) {
  length_ = corners_ = 0;
  std::fill(region_length_, region_length_ + regions_, 0);
  std::fill(region_corners_, region_corners_ + regions_, 0);
  // Chains first, from their ends; the cracks that remain are rings, met at their topmost vertex.
  for (const uint8_t wanted : {kJunction, kCracks}) {
    const uint64_t eight_wanted = wanted * UINT64_C(0x0101010101010101);
    for (int64_t y = 0; y <= map.request.height; ++y) {
      const uint8_t* const row = vertices_ + y * stride_;
      for (int64_t x = 0; x <= map.request.width; ++x) {
        uint64_t eight;  // most vertices have no crack; rows are padded
        memcpy(&eight, row + x, sizeof eight);
        if ((eight & eight_wanted) == 0) {
          x += 7;
          continue;
        }
        if ((row[x] & wanted) == 0) continue;
        add_corner(map, y, x);
        for (uint8_t direction = 0; direction < 4; ++direction) {
          if ((row[x] >> direction & 1) != 0) follow(map, y, x, direction);
        }
      }
    }
  }
}

// Takes the chain that leaves a vertex in a direction: to another end, or round to the same.
void Contours::follow(const ClassMap& map, int64_t y, int64_t x, uint8_t direction) {
  const int64_t steps[4] = {1, stride_, -1, -stride_};
  uint8_t* at = vertices_ + y * stride_ + x;
  const uint8_t* const start = at;
  int64_t cracks = 0;
  for (uint8_t next = direction;;) {
    *at = static_cast<uint8_t>(*at & ~(1 << next));
    chain_[cracks++] = next;
    at += steps[next];
    *at = static_cast<uint8_t>(*at & ~(1 << (next ^ 2)));
    if ((*at & kJunction) != 0 || *at == 0) break;
    next = static_cast<uint8_t>(__builtin_ctz(*at));  // the one crack that leads on
  }
  simplify(map, y, x, cracks, at == start);
}

// A point stays where it is farther than the tolerance from the segment between the points kept
// around it, the farthest first, the earliest of equals. The ends stay, and of a closed chain the
// point farthest from them. Kept points are marks in the chain: no stack is needed.
void Contours::simplify(const ClassMap& map, int64_t y, int64_t x, int64_t cracks, bool closed) {
  chain_[cracks] = kKept;
  int64_t first = 0;
  if (closed) {
    int64_t farthest = 0, largest = -1, dx = 0, dy = 0;
    for (int64_t i = 0; i < cracks; ++i) {
      if (dx * dx + dy * dy > largest) largest = dx * dx + dy * dy, farthest = i;
      dx += kStepX[chain_[i]];
      dy += kStepY[chain_[i]];
    }
    chain_[farthest] |= kKept;
  }
  while (first < cracks) {
    const uint8_t start = chain_[first] & 3;
    int64_t last = first + 1, end_x = kStepX[start], end_y = kStepY[start];
    for (; chain_[last] < kKept; ++last) {
      end_x += kStepX[chain_[last]];
      end_y += kStepY[chain_[last]];
    }
    // Squared distances are times the segment's squared length, which is never 0: no vertex comes
    // twice but the ends of a closed chain, and that is held by a point between.
    const int64_t square = end_x * end_x + end_y * end_y;
    const double length = static_cast<double>(square);
    int64_t farthest = first, dx = kStepX[start], dy = kStepY[start];
    double largest = kTolerance * kTolerance * length;
    for (int64_t i = first + 1; i < last; ++i) {
      const int64_t along = dx * end_x + dy * end_y;
      double distance;
      if (along > 0 && along < square) {
        const double cross = static_cast<double>(dx * end_y - dy * end_x);
        distance = cross * cross;
      } else {
        const int64_t from_x = along > 0 ? dx - end_x : dx, from_y = along > 0 ? dy - end_y : dy;
        distance = static_cast<double>(from_x * from_x + from_y * from_y) * length;
      }
      if (distance > largest) largest = distance, farthest = i;
      dx += kStepX[chain_[i]];
      dy += kStepY[chain_[i]];
    }
    if (farthest != first) {
      chain_[farthest] |= kKept;
      continue;
    }
    add_segment(map, y, x, first, last, square);
    y += end_y;
    x += end_x;
    if (last < cracks) add_corner(map, y, x);
    first = last;
  }
}

void Contours::add_segment(const ClassMap& map, int64_t y, int64_t x, int64_t first, int64_t last,
                           int64_t square) {
  const double length = sqrt(static_cast<double>(square)) * kUnits;
  length_ += llrint(length);
  if (regions_ == 0) return;
  const int64_t share = llrint(length / static_cast<double>(last - first));
  for (int64_t i = first; i < last; ++i) {
    const uint8_t direction = chain_[i] & 3;
    const int64_t next_y = y + kStepY[direction], next_x = x + kStepX[direction];
    // The two pixels beside the crack.
    const bool flat = (direction & 1) == 0;
    const int64_t low_y = std::min(y, next_y), low_x = std::min(x, next_x);
    const int64_t one = flat ? map.region(low_y - 1, low_x) : map.region(low_y, low_x - 1);
    const int64_t other = map.region(low_y, low_x);
    if (one >= 0) region_length_[one] += share;
    if (other >= 0 && other != one) region_length_[other] += share;
    y = next_y;
    x = next_x;
  }
}

void Contours::add_corner(const ClassMap& map, int64_t y, int64_t x) {
  ++corners_;
  if (regions_ == 0) return;
  int64_t around[4] = {map.region(y - 1, x - 1), map.region(y - 1, x), map.region(y, x - 1),
                       map.region(y, x)};
  for (int i = 0; i < 4; ++i) {
    if (around[i] >= 0 && std::find(around, around + i, around[i]) == around + i) {
      ++region_corners_[around[i]];
    }
  }
}

void Contours::write(const deal_output& out, int64_t b, bool good) const {
  const auto pixels = [good](int64_t units) {
    return good ? static_cast<double>(units) / kUnits : 0.0;
  };
  if (out.boundary_length) out.boundary_length[b] = pixels(length_);
  if (out.boundary_corners) out.boundary_corners[b] = good ? corners_ : 0;
  for (int64_t i = 0; i < regions_; ++i) {
    const int64_t at = b * regions_ + i;
    if (out.region_boundary_length) out.region_boundary_length[at] = pixels(region_length_[i]);
    if (out.region_boundary_corners)
      out.region_boundary_corners[at] = good ? region_corners_[i] : 0;
  }
}

}  // namespace deal
