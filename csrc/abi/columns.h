// What the entries of columns.def speak of.
#pragma once

#include "abi/deal.h"

namespace deal {

enum class Table { image, region };
enum class Shape { row, levels, classes };

// What is computed together: of every pixel; where the predicted class changes; the regions' boxes;
// with a head or a difficulty grid; of a committee; boundary lines.
enum class Part { pixels, boundary, boxes, difficulty, committee, contours };

// Whether the output has a buffer for a column of this part.
bool asks_for(const deal_output& output, Part part);

}  // namespace deal
