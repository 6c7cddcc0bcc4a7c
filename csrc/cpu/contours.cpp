#include "cpu/contours.h"

#include <math.h>
#include <string.h>

#include <algorithm>

namespace deal {
namespace {

constexpr double kUnits = 16777216.0;  // 2^24
constexpr double kTolerance = 1.5;     // pixels
constexpr int64_t kFewestRows = 16;    // of a band: in lower ones most lines would cross

// Directions 0...3 from a vertex: right, down, left, up.
constexpr int64_t kStepX[4] = {1, 0, -1, 0};
constexpr int64_t kStepY[4] = {0, 1, 0, -1};
constexpr uint8_t kDown = 1, kUp = 3;
constexpr uint8_t kCracks = 15;    // a bit a direction
constexpr uint8_t kJunction = 16;  // chains end here
constexpr uint8_t kCrossing = 32;  // its chain leaves the band
constexpr uint8_t kKept = 16;      // in a chain: its point here is kept

// Words of the sums of one thread, so many that no two threads share a line of the cache.
int64_t sums_stride(int64_t regions) { return (2 + 2 * regions + 15) / 8 * 8; }

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

// Traces the lines within rows y0...y1 - 1 of the vertices, whose part of `vertices` and `chain`
// is its own.
class Contours::Tracer {
 public:
  Tracer(const ClassMap& map, const Contours& contours, const Sums& sums, int64_t y0, int64_t y1)
      : map_(map),
        vertices_(contours.vertices_),
        chain_(contours.chain_ + y0 * contours.stride_),
        sums_(sums),
        stride_(contours.stride_),
        regions_(contours.regions_),
        y0_(y0),
        y1_(y1) {}

  // Lengths and corners that were summed up; those of regions are where `sums` has them.
  const Sums& sums() const { return sums_; }
  // All lines that stay within the rows.
  void trace_band();
  // What bands have left: the lines that cross from one to another.
  void trace_crossing();

 private:
  template <class Fn>
  void each_vertex(uint8_t wanted, Fn&& fn);
  bool leaves(int64_t y, uint8_t direction) const;
  void mark_crossing(int64_t y, int64_t x, uint8_t from);
  void follow_all(int64_t y, int64_t x, bool within);
  void follow(int64_t y, int64_t x, uint8_t direction);
  void simplify(int64_t y, int64_t x, int64_t cracks, bool closed);
  void add_corner(int64_t y, int64_t x);
  void add_segment(int64_t y, int64_t x, int64_t first, int64_t last, int64_t square);
  uint8_t* at(int64_t y, int64_t x) const { return vertices_ + y * stride_ + x; }

  const ClassMap& map_;
  uint8_t* const vertices_;
  uint8_t* const chain_;
  Sums sums_;
  const int64_t stride_, regions_, y0_, y1_;
};

void Contours::carve(Carver& carver, const Request& r, int slots) {
  stride_ = r.width + kPad;
  regions_ = r.region_count;
  slots_ = slots;
  vertices_ = carver.take<uint8_t>((r.height + 1) * stride_);
  chain_ = carver.take<uint8_t>((r.height + 1) * stride_);  // a chain meets no vertex twice
  sums_ = carver.take<int64_t>(slots * sums_stride(regions_));
}

Contours::Sums Contours::sums_of(int slot) const {
  int64_t* const sums = sums_ + slot * sums_stride(regions_);
  return {sums[0], sums[1], sums + 2, sums + 2 + regions_};
}

void Contours::trace(const ClassMap& map, Team& team, int first) {
  const int64_t stride = sums_stride(regions_), rows = map.request.height + 1;
  std::fill(sums_, sums_ + slots_ * stride, 0);
  const auto add = [&](const Sums& sums, int slot) {
    sums_[slot * stride] = sums.length;
    sums_[slot * stride + 1] = sums.corners;
  };
  const int64_t grain = std::max(kFewestRows, rows / (4 * int64_t{slots_}));
  team.run(rows, grain, [&](int64_t begin, int64_t end, int slot) {
    find_cracks(map, begin, end);
    Tracer tracer(map, *this, sums_of(slot - first), begin, end);
    tracer.trace_band();
    add(tracer.sums(), slot - first);
  });
  if (slots_ > 1 && rows > grain) {
    Tracer tracer(map, *this, sums_of(0), 0, rows);
    tracer.trace_crossing();
    add(tracer.sums(), 0);
  }
  for (int64_t i = stride; i < slots_ * stride; ++i) sums_[i % stride] += sums_[i];
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

// Calls fn(y, x) for vertices that have any of the bits, by rows.
template <class Fn>
void Contours::Tracer::each_vertex(uint8_t wanted, Fn&& fn) {
  const uint64_t eight_wanted = wanted * UINT64_C(0x0101010101010101);
  for (int64_t y = y0_; y < y1_; ++y) {
    const uint8_t* const row = at(y, 0);
    for (int64_t x = 0; x <= map_.request.width; ++x) {
      uint64_t eight;  // most vertices have no crack; rows are padded
      memcpy(&eight, row + x, sizeof eight);
      if ((eight & eight_wanted) == 0) {
        x += 7;
        continue;
      }
      if ((row[x] & wanted) != 0) fn(y, x);
    }
  }
}

void Contours::Tracer::trace_band() {
  for (int64_t x = 0; y0_ > 0 && x <= map_.request.width; ++x) {
    if ((*at(y0_, x) >> kUp & 1) != 0) mark_crossing(y0_, x, kUp);
  }
  for (int64_t x = 0; y1_ <= map_.request.height && x <= map_.request.width; ++x) {
    if ((*at(y1_ - 1, x) >> kDown & 1) != 0) mark_crossing(y1_ - 1, x, kDown);
  }
  // Chains first, from their ends; the cracks that remain are rings, met at their topmost vertex.
  each_vertex(kJunction, [&](int64_t y, int64_t x) {
    add_corner(y, x);
    follow_all(y, x, true);
  });
  each_vertex(kCracks, [&](int64_t y, int64_t x) {
    if ((*at(y, x) & (kJunction | kCrossing)) != 0) return;
    add_corner(y, x);
    follow_all(y, x, true);
  });
}

void Contours::Tracer::trace_crossing() {
  each_vertex(kCracks, [&](int64_t y, int64_t x) {
    if ((*at(y, x) & kJunction) != 0) follow_all(y, x, false);
  });
  each_vertex(kCracks, [&](int64_t y, int64_t x) {
    add_corner(y, x);
    follow_all(y, x, false);
  });
}

bool Contours::Tracer::leaves(int64_t y, uint8_t direction) const {
  return direction == kUp ? y == y0_ : direction == kDown && y + 1 == y1_;
}

// Marks what lies within the band of a chain that enters it at a vertex, from a direction.
void Contours::Tracer::mark_crossing(int64_t y, int64_t x, uint8_t from) {
  for (;;) {
    uint8_t& here = *at(y, x);
    if ((here & (kJunction | kCrossing)) != 0) return;
    const auto next = static_cast<uint8_t>(__builtin_ctz(here & ~(1 << from)));
    here |= kCrossing;
    if (leaves(y, next)) return;
    y += kStepY[next];
    x += kStepX[next];
    from = next ^ 2;
  }
}

// Follows the chains that leave a vertex: all of them, or those that stay within the band.
void Contours::Tracer::follow_all(int64_t y, int64_t x, bool within) {
  for (uint8_t direction = 0; direction < 4; ++direction) {
    if ((*at(y, x) >> direction & 1) == 0) continue;
    const bool crosses =
        within && (leaves(y, direction) ||
                   (*at(y + kStepY[direction], x + kStepX[direction]) & kCrossing) != 0);
    if (!crosses) follow(y, x, direction);
  }
}

// Takes the chain that leaves a vertex in a direction: to another end, or round to the same.
void Contours::Tracer::follow(int64_t y, int64_t x, uint8_t direction) {
  const int64_t steps[4] = {1, stride_, -1, -stride_};
  uint8_t* here = at(y, x);
  const uint8_t* const start = here;
  int64_t cracks = 0;
  for (uint8_t next = direction;;) {
    *here = static_cast<uint8_t>(*here & ~(1 << next));
    chain_[cracks++] = next;
    here += steps[next];
    *here = static_cast<uint8_t>(*here & ~(1 << (next ^ 2)));
    if ((*here & kJunction) != 0 || (*here & kCracks) == 0) break;
    next = static_cast<uint8_t>(__builtin_ctz(*here));  // the one crack that leads on
  }
  simplify(y, x, cracks, here == start);
}

// A point stays where it is farther than the tolerance from the segment between the points kept
// around it, the farthest first, the earliest of equals. The ends stay, and of a closed chain the
// point farthest from them. Kept points are marks in the chain: no stack is needed.
void Contours::Tracer::simplify(int64_t y, int64_t x, int64_t cracks, bool closed) {
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
    add_segment(y, x, first, last, square);
    y += end_y;
    x += end_x;
    if (last < cracks) add_corner(y, x);
    first = last;
  }
}

void Contours::Tracer::add_segment(int64_t y, int64_t x, int64_t first, int64_t last,
                                   int64_t square) {
  const double length = sqrt(static_cast<double>(square)) * kUnits;
  sums_.length += llrint(length);
  if (regions_ == 0) return;
  const int64_t share = llrint(length / static_cast<double>(last - first));
  for (int64_t i = first; i < last; ++i) {
    const uint8_t direction = chain_[i] & 3;
    const int64_t next_y = y + kStepY[direction], next_x = x + kStepX[direction];
    // The two pixels beside the crack.
    const bool flat = (direction & 1) == 0;
    const int64_t low_y = std::min(y, next_y), low_x = std::min(x, next_x);
    const int64_t one = flat ? map_.region(low_y - 1, low_x) : map_.region(low_y, low_x - 1);
    const int64_t other = map_.region(low_y, low_x);
    if (one >= 0) sums_.region_length[one] += share;
    if (other >= 0 && other != one) sums_.region_length[other] += share;
    y = next_y;
    x = next_x;
  }
}

void Contours::Tracer::add_corner(int64_t y, int64_t x) {
  ++sums_.corners;
  if (regions_ == 0) return;
  int64_t around[4] = {map_.region(y - 1, x - 1), map_.region(y - 1, x), map_.region(y, x - 1),
                       map_.region(y, x)};
  for (int i = 0; i < 4; ++i) {
    if (around[i] >= 0 && std::find(around, around + i, around[i]) == around + i) {
      ++sums_.region_corners[around[i]];
    }
  }
}

void Contours::write(const deal_output& out, int64_t b, bool good) const {
  const Sums sums = sums_of(0);
  const auto pixels = [good](int64_t units) {
    return good ? static_cast<double>(units) / kUnits : 0.0;
  };
  if (out.boundary_length) out.boundary_length[b] = pixels(sums.length);
  if (out.boundary_corners) out.boundary_corners[b] = good ? sums.corners : 0;
  for (int64_t i = 0; i < regions_; ++i) {
    const int64_t at = b * regions_ + i;
    if (out.region_boundary_length) out.region_boundary_length[at] = pixels(sums.region_length[i]);
    if (out.region_boundary_corners)
      out.region_boundary_corners[at] = good ? sums.region_corners[i] : 0;
  }
}

}  // namespace deal
