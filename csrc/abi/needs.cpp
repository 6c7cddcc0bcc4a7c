#include "abi/needs.h"

namespace deal {
namespace {

template <class... Pointers>
bool any(Pointers... pointers) {
  return (... || (pointers != nullptr));
}

}  // namespace

Needs::Needs(const Request& request, const deal_output& o)
    : statistics(asks_for_committee(o) || asks_for_contours(o) ||
                 any(o.n_pixels, o.boundary_pixels, o.difficulty_mean, o.difficulty_min,
                     o.difficulty_max, o.entropy_mean, o.margin_mean, o.least_confidence_mean,
                     o.difficulty_weighted_entropy_mean, o.difficulty_weighted_margin_mean,
                     o.difficulty_weighted_least_confidence_mean, o.difficulty_hist,
                     o.difficulty_hist_image, o.entropy_hist, o.class_pixels,
                     o.class_difficulty_sum, o.class_entropy_sum,
                     o.class_difficulty_weighted_entropy_sum, o.region_n_pixels,
                     o.region_difficulty_mean, o.region_entropy_mean, o.region_margin_mean,
                     o.region_least_confidence_mean, o.region_difficulty_weighted_entropy_mean,
                     o.region_difficulty_weighted_margin_mean,
                     o.region_difficulty_weighted_least_confidence_mean, o.region_majority_class,
                     o.region_impurity, o.region_boundary_pixels, o.class_map)),
      boundary(any(o.boundary_pixels, o.region_boundary_pixels)),
      committee(asks_for_committee(o)),
      contours(asks_for_contours(o)),
      difficulty(request.has_difficulty() &&
                 (statistics || any(o.difficulty_grid, o.difficulty_map))),
      raster(difficulty && (statistics || any(o.difficulty_map))),
      boxes(request.segments != nullptr &&
            any(o.region_x0, o.region_y0, o.region_x1, o.region_y1)) {}

}  // namespace deal
