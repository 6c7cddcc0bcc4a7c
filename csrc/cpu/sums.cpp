#include "cpu/sums.h"

#include <math.h>
#include <string.h>

#include <algorithm>

#include "abi/columns.h"

namespace deal {
namespace {

constexpr double kUnit = 1.0 / 16777216.0;  // 2^-24

template <class T>
void add_array(T* into, const T* from, int64_t n) {
  for (int64_t i = 0; i < n; ++i) into[i] += from[i];
}

template <class T>
void clear_array(T* array, int64_t n) {
  memset(array, 0, static_cast<size_t>(n) * sizeof(T));
}

template <class T>
void put(T* out, int64_t at, T value) {
  if (out != nullptr) out[at] = value;
}

void put_hist(int64_t* out, int64_t b, const uint32_t* hist) {
  if (out != nullptr)
    std::copy(hist, hist + DEAL_HISTOGRAM_LEVELS, out + b * DEAL_HISTOGRAM_LEVELS);
}

// What was summed of the pixels of an image or region.
struct Totals {
  const int64_t* record;     // [kRecord]
  const int64_t* committee;  // [kCommittee], or nothing without a committee
};

int64_t sum_of(Totals totals, RecordField field) { return totals.record[field]; }
// Of equal members mutual information is a sum of rounding errors of either sign.
int64_t sum_of(Totals totals, CommitteeField field) {
  return std::max<int64_t>(totals.committee[field], 0);
}

template <class Field>
void put_mean(double* out, int64_t at, Totals totals, Field field) {
  if (out == nullptr) return;
  const int64_t pixels = totals.record[kCount];
  out[at] = pixels == 0
                ? static_cast<double>(NAN)
                : static_cast<double>(sum_of(totals, field)) * kUnit / static_cast<double>(pixels);
}

template <Table kTable>
void put_means(const deal_output& out, int64_t at, Totals totals) {
#define DEAL_COLUMN(table, name, type, shape, part)
#define DEAL_MEAN(table, name, part, sum) \
  if (Table::table == kTable) put_mean(out.DEAL_FIELD(table, name), at, totals, sum);
#include "abi/columns.def"
}

// Entropy in nats of the predicted classes' fractions.
double impurity_of(const uint32_t* counts, int64_t classes, int64_t total) {
  if (total == 0) return static_cast<double>(NAN);
  double sum = 0.0;
  for (int64_t c = 0; c < classes; ++c) {
    if (counts[c] == 0) continue;
    const double p = static_cast<double>(counts[c]) / static_cast<double>(total);
    sum -= p * log(p);
  }
  return sum;
}

void write_regions(const Request& request, const Sums& sums, int64_t b, const deal_output& out) {
  const int64_t count = sums.regions;
  for (int64_t r = 0; r < count; ++r) {
    const int64_t* totals = sums.region_sums + r * kRecord;
    const uint32_t* counts = sums.region_classes + r * sums.classes;
    const int64_t at = b * count + r;
    put(out.region_n_pixels, at, totals[kCount]);
    put_means<Table::region>(out, at,
                             {totals, sums.region_committee_sums + r * sums.committee_fields});
    put(out.region_majority_class, at,
        totals[kCount] == 0 ? int64_t{-1}
                            : std::max_element(counts, counts + sums.classes) - counts);
    put(out.region_impurity, at, impurity_of(counts, sums.classes, totals[kCount]));
    put(out.region_boundary_pixels, at, sums.region_boundary[r]);
    int64_t box[4] = {0, 0, 0, 0};
    if (request.region_kind == DEAL_REGIONS_GRID) {
      const int64_t y = r / request.region_columns, x = r % request.region_columns;
      box[0] = x * request.region_cell;
      box[1] = y * request.region_cell;
      box[2] = std::min((x + 1) * request.region_cell, request.width);
      box[3] = std::min((y + 1) * request.region_cell, request.height);
    } else if (sums.region_box[r * 4 + 2] >= 0) {
      for (int k = 0; k < 4; ++k) box[k] = sums.region_box[r * 4 + k] + k / 2;
    }
    put(out.region_x0, at, box[0]);
    put(out.region_y0, at, box[1]);
    put(out.region_x1, at, box[2]);
    put(out.region_y1, at, box[3]);
  }
}

}  // namespace

void Sums::carve(Carver& carver, const Request& request) {
  classes = request.logits.channels;
  regions = request.region_count;
  class_sums = carver.take<int64_t>(classes * kRecord);
  entropy_hist = carver.take<uint32_t>(DEAL_HISTOGRAM_LEVELS);
  difficulty_hist = carver.take<uint32_t>(DEAL_HISTOGRAM_LEVELS);
  image_hist = carver.take<uint32_t>(DEAL_HISTOGRAM_LEVELS);
  region_sums = carver.take<int64_t>(regions * kRecord);
  region_classes = carver.take<uint32_t>(regions * classes);
  region_boundary = carver.take<int64_t>(regions);
  region_box = carver.take<int64_t>(regions * 4);
  committee_fields = request.logits.members > 1 ? kCommittee : 0;
  committee_sums = carver.take<int64_t>(committee_fields);
  region_committee_sums = carver.take<int64_t>(regions * committee_fields);
}

void Sums::clear() {
  clear_array(class_sums, classes * kRecord);
  clear_array(entropy_hist, DEAL_HISTOGRAM_LEVELS);
  clear_array(difficulty_hist, DEAL_HISTOGRAM_LEVELS);
  clear_array(image_hist, DEAL_HISTOGRAM_LEVELS);
  clear_array(region_sums, regions * kRecord);
  clear_array(region_classes, regions * classes);
  clear_array(region_boundary, regions);
  clear_array(committee_sums, committee_fields);
  clear_array(region_committee_sums, regions * committee_fields);
  for (int64_t r = 0; r < regions; ++r) {
    region_box[r * 4] = region_box[r * 4 + 1] = INT64_MAX;
    region_box[r * 4 + 2] = region_box[r * 4 + 3] = -1;
  }
  nonfinite = boundary = 0;
  low = INFINITY;
  high = -INFINITY;
}

void Sums::add(const Sums& other) {
  add_array(class_sums, other.class_sums, classes * kRecord);
  add_array(entropy_hist, other.entropy_hist, DEAL_HISTOGRAM_LEVELS);
  add_array(difficulty_hist, other.difficulty_hist, DEAL_HISTOGRAM_LEVELS);
  add_array(image_hist, other.image_hist, DEAL_HISTOGRAM_LEVELS);
  add_array(region_sums, other.region_sums, regions * kRecord);
  add_array(region_classes, other.region_classes, regions * classes);
  add_array(region_boundary, other.region_boundary, regions);
  add_array(committee_sums, other.committee_sums, committee_fields);
  add_array(region_committee_sums, other.region_committee_sums, regions * committee_fields);
  for (int64_t r = 0; r < regions * 4; r += 4) {
    for (int k = 0; k < 2; ++k) {
      region_box[r + k] = std::min(region_box[r + k], other.region_box[r + k]);
      region_box[r + 2 + k] = std::max(region_box[r + 2 + k], other.region_box[r + 2 + k]);
    }
  }
  boundary += other.boundary;
}

void write_image(const Request& request, const Sums& sums, int64_t b, const deal_output& out) {
  int64_t totals[kRecord] = {};
  for (int64_t c = 0; c < sums.classes; ++c) {
    const int64_t* one = sums.class_sums + c * kRecord;
    add_array(totals, one, kRecord);
    const int64_t at = b * sums.classes + c;
    put(out.class_pixels, at, one[kCount]);
    put(out.class_difficulty_sum, at, static_cast<double>(one[kDifficulty]) * kUnit);
    put(out.class_entropy_sum, at, static_cast<double>(one[kEntropy]) * kUnit);
    put(out.class_difficulty_weighted_entropy_sum, at,
        static_cast<double>(one[kDifficultyEntropy]) * kUnit);
  }
  const bool empty = totals[kCount] == 0;
  put(out.nonfinite, b, sums.nonfinite);
  put(out.n_pixels, b, totals[kCount]);
  put(out.boundary_pixels, b, sums.boundary);
  put(out.difficulty_min, b, static_cast<double>(empty ? NAN : sums.low));
  put(out.difficulty_max, b, static_cast<double>(empty ? NAN : sums.high));
  put_means<Table::image>(out, b, {totals, sums.committee_sums});
  put_hist(out.entropy_hist, b, sums.entropy_hist);
  put_hist(out.difficulty_hist, b, sums.difficulty_hist);
  put_hist(out.difficulty_hist_image, b, sums.image_hist);
  if (sums.regions > 0) write_regions(request, sums, b, out);
}

}  // namespace deal
