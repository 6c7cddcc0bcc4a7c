// Connected areas of a map of ids.
#pragma once

#include <stdint.h>

namespace deal {

// Numbers the 4-connected areas of equal, non-negative values of map [height, width] in raster
// order of their first pixel; pixels of negative value and of areas below min_pixels get -1.
// Returns how many areas were numbered. ids [height, width] is all the memory it takes.
int64_t label_components(const int32_t* map, int64_t height, int64_t width, int64_t min_pixels,
                         int32_t* ids);

}  // namespace deal
