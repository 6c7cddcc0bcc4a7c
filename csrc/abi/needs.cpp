#include "abi/needs.h"

#include "abi/columns.h"

namespace deal {

Needs::Needs(const Request& request, const deal_output& o)
    : boundary(asks_for(o, Part::boundary)),
      committee(asks_for(o, Part::committee)),
      contours(asks_for(o, Part::contours)),
      boxes(request.segments != nullptr && asks_for(o, Part::boxes)) {
  statistics = boundary || committee || contours || asks_for(o, Part::pixels) ||
               asks_for(o, Part::difficulty) || o.class_map != nullptr;
  const bool map = o.difficulty_map != nullptr;
  difficulty = request.has_difficulty() && (statistics || map || o.difficulty_grid != nullptr);
  raster = difficulty && (statistics || map);
}

}  // namespace deal
