#include "cpu/components.h"

#include <utility>

namespace deal {
namespace {

// While areas grow, ids is a forest: a pixel holds the index of an earlier pixel of its area, the
// area's first pixel holds -1 - size, and pixels of no area hold -1.
int32_t find_first(int32_t* ids, int32_t i) {
  while (ids[i] >= 0) {
    if (ids[ids[i]] >= 0) ids[i] = ids[ids[i]];
    i = ids[i];
  }
  return i;
}

int32_t join(int32_t* ids, int32_t a, int32_t b) {
  if (a == b) return a;
  if (b < a) std::swap(a, b);
  ids[a] += ids[b] + 1;
  ids[b] = a;
  return a;
}

}  // namespace

int64_t label_components(const int32_t* map, int64_t height, int64_t width, int64_t min_pixels,
                         int32_t* ids) {
  const int32_t columns = static_cast<int32_t>(width);
  const int32_t pixels = static_cast<int32_t>(height * width);
  for (int32_t row = 0; row < pixels; row += columns) {
    for (int32_t i = row; i < row + columns; ++i) {
      ids[i] = map[i] < 0 ? -1 : -2;
      if (map[i] < 0) continue;
      int32_t first = i;
      if (i > row && map[i - 1] == map[i]) first = join(ids, find_first(ids, i - 1), first);
      // Where the row above goes on as this one does, the left pixel joined both.
      const bool joined = first != i && row > 0 && map[i - columns - 1] == map[i];
      if (row > 0 && !joined && map[i - columns] == map[i]) {
        join(ids, find_first(ids, i - columns), first);
      }
    }
  }
  // Pixels point to earlier ones, whose numbers are final by then.
  int64_t count = 0;
  for (int32_t i = 0; i < pixels; ++i) {
    if (ids[i] >= 0) {
      ids[i] = ids[ids[i]];
    } else if (ids[i] < -1) {
      ids[i] = -1 - int64_t{ids[i]} >= min_pixels ? static_cast<int32_t>(count++) : -1;
    }
  }
  return count;
}

}  // namespace deal
