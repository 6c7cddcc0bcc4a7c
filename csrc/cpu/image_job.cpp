#include "cpu/image_job.h"

#include <math.h>
#include <string.h>

#include <algorithm>

namespace deal {
namespace {

int64_t sum_of_bytes(uint64_t eight) {
  return static_cast<int64_t>(eight * 0x0101010101010101u >> 56);
}

// Adds eight flags, of which `left` lie in the row, to the boundaries of their regions.
void add_boundary(const int32_t* regions, int64_t offset, uint64_t flags, int64_t left,
                  Sums& sums) {
  int32_t differ = left < 8;
  for (int k = 1; k < 8 && left >= 8; ++k) differ |= regions[k] ^ regions[0];
  if (differ == 0) {
    if (regions[0] >= 0) sums.region_boundary[regions[0] + offset] += sum_of_bytes(flags);
    return;
  }
  for (int64_t k = 0; k < 8 && k < left; ++k, flags >>= 8) {
    if (regions[k] >= 0) sums.region_boundary[regions[k] + offset] += flags & 1;
  }
}

}  // namespace

bool ImageJob::run(int first, int count) {
  Sums& total = w_.rows[first].sums;
  for (int s = first; s < first + count; ++s) w_.rows[s].sums.clear();
  count_nonfinite();
  for (int s = first + 1; s < first + count; ++s) total.nonfinite += w_.rows[s].sums.nonfinite;
  const bool good = total.nonfinite == 0;
  if (good) {
    if (needs_.difficulty) make_grid();
    if (needs_.raster) {
      make_difficulty();
      for (int s = first + 1; s < first + count; ++s) {
        total.low = std::min(total.low, w_.rows[s].sums.low);
        total.high = std::max(total.high, w_.rows[s].sums.high);
      }
    }
    if (needs_.statistics) make_statistics(total.low, total.high);
    if (needs_.boundary) make_boundary();
    if (needs_.committee) make_committee();
    if (needs_.contours) make_contours(first);
  }
  if (needs_.boxes) make_boxes();
  for (int s = first + 1; s < first + count; ++s) total.add(w_.rows[s].sums);
  write_image(r_, total, b_, out_);
  if (needs_.contours) image_.contours.write(out_, b_, good);
  write_maps(good);
  return good;
}

void ImageJob::count_nonfinite() {
  for (const TensorView* t : {&r_.logits, &r_.difficulty}) {
    if (t->data == nullptr) continue;
    const int64_t rows = t->channels * t->height;
    team_.run(t->members * rows, 64, [&](int64_t begin, int64_t end, int slot) {
      int64_t bad = 0;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = i % rows;
        bad += k_.count_nonfinite(t->member(i / rows).row(b_, row / t->height, row % t->height),
                                  t->dtype, t->column_stride, t->width);
      }
      w_.rows[slot].sums.nonfinite += bad;
    });
  }
}

// The difficulty before the sigmoid: copied where it is given, else the head's attention.
void ImageJob::make_grid() {
  const int64_t gh = r_.grid_height, gw = r_.grid_width;
  if (r_.difficulty.data != nullptr) {
    for (int64_t y = 0; y < gh; ++y) {
      k_.load_row(r_.difficulty.row(b_, 0, y), encoding_of(r_.difficulty),
                  r_.difficulty.column_stride, image_.grid + y * gw, gw);
    }
    return;
  }
  AttentionArrays& a = image_.attention;
  const int32_t classes = static_cast<int32_t>(r_.logits.channels);
  team_.run(gh, 4, [&](int64_t begin, int64_t end, int slot) {
    RowWorkspace& mine = w_.rows[slot];
    mine.logits.begin(r_.logits, b_);
    for (int64_t y = begin; y < end; ++y) {
      k_.softmax_row(mine.logits.at(k_, w_.cell_y.at(y)), w_.cell_x.taps(), classes,
                     r_.head->weight, r_.head->uncertainty_weight, mine.probabilities,
                     mine.probability_stride, mine.value, gw);
      const size_t bytes = static_cast<size_t>(gw) * sizeof(float);
      for (int32_t c = 0; c < classes; ++c) {
        memcpy(a.p + c * a.stride + y * gw, mine.probabilities + c * mine.probability_stride,
               bytes);
      }
      memcpy(a.value + y * gw, mine.value, bytes);
    }
  });
  attend(k_, *r_.head, a, team_);
  image_.grid = a.value;
}

void ImageJob::make_difficulty() {
  TensorView grid = {};
  grid.data = reinterpret_cast<const char*>(image_.grid);
  grid.dtype = DEAL_FLOAT32;
  grid.element_size = sizeof(float);
  grid.members = grid.channels = 1;
  grid.height = r_.grid_height;
  grid.width = grid.row_stride = r_.grid_width;
  grid.column_stride = 1;
  team_.run(r_.height, row_grain(), [&](int64_t begin, int64_t end, int slot) {
    RowWorkspace& mine = w_.rows[slot];
    mine.grid.begin(grid, 0);
    for (int64_t y = begin; y < end; ++y) {
      float low, high;
      k_.difficulty_row(mine.grid.at(k_, w_.grid_y.at(y)), w_.grid_x.taps(), r_.mask_row(b_, y),
                        difficulty_row(y), r_.width, &low, &high);
      mine.sums.low = std::min(mine.sums.low, low);
      mine.sums.high = std::max(mine.sums.high, high);
    }
  });
}

void ImageJob::make_statistics(float low, float high) {
  team_.run(r_.height, row_grain(), [&](int64_t begin, int64_t end, int slot) {
    RowWorkspace& mine = w_.rows[slot];
    mine.logits.begin(r_.logits, b_);
    uint32_t counts[3][kHistogramCopies][DEAL_HISTOGRAM_LEVELS] = {};
    PixelRow every = {};
    every.width = r_.width;
    every.classes = static_cast<int32_t>(r_.logits.channels);
    every.taps = w_.logits_x.taps();
    every.inverse_log_classes =
        every.classes > 1 ? static_cast<float>(1.0 / log(every.classes)) : 0.0f;
    every.difficulty_low = low;
    every.inverse_range = inverse_range(low, high);
    every.class_sums = mine.sums.class_sums;
    every.region_sums = mine.sums.region_sums;
    every.region_classes = mine.sums.region_classes;
    every.entropy_hist = counts[0][0];
    every.difficulty_hist = counts[1][0];
    every.image_hist = counts[2][0];
    PixelRow rows[kRowsAtOnce];
    for (int k = 0; k < kRowsAtOnce; ++k) {
      rows[k] = every;
      rows[k].planes = mine.planes + k * 3 * (r_.width + kPad);
      rows[k].levels = mine.levels + k * 3 * (r_.width + kPad);
    }
    const int64_t last = first_row(end);
    for (int64_t y = first_row(begin); y < last;) {
      const Tap first = w_.logits_y.at(y);
      int count = 0;
      for (; count < kRowsAtOnce && y < last; ++count, ++y) {
        const Tap here = w_.logits_y.at(y);
        if (here.first != first.first || here.second != first.second) break;
        PixelRow& row = rows[count];
        row.logits = mine.logits.at(k_, here);
        row.difficulty = needs_.difficulty ? difficulty_row(y) : nullptr;
        row.labels = label_row(y);
        row.mask = r_.mask_row(b_, y);
        row.regions = region_row(y, &row.region_offset);
      }
      k_.pixel_rows(rows, count);
    }
    uint32_t* const hists[3] = {mine.sums.entropy_hist, mine.sums.difficulty_hist,
                                mine.sums.image_hist};
    for (int h = 0; h < 3; ++h) {
      for (const auto& copy : counts[h]) {
        for (int k = 0; k < DEAL_HISTOGRAM_LEVELS; ++k) hists[h][k] += copy[k];
      }
    }
  });
}

void ImageJob::make_boundary() {
  team_.run(r_.height, row_grain(), [&](int64_t begin, int64_t end, int slot) {
    RowWorkspace& mine = w_.rows[slot];
    for (int64_t y = begin; y < end; ++y) {
      const bool top = y == 0, bottom = y + 1 == r_.height;
      const uint8_t* const labels[3] = {top ? nullptr : label_row(y - 1), label_row(y),
                                        bottom ? nullptr : label_row(y + 1)};
      const uint8_t* const masks[3] = {top ? nullptr : r_.mask_row(b_, y - 1), r_.mask_row(b_, y),
                                       bottom ? nullptr : r_.mask_row(b_, y + 1)};
      k_.boundary_row(labels, masks, mine.flags, r_.width);
      memset(mine.flags + r_.width, 0, 8);  // below they are taken by eights
      int64_t offset, count = 0;
      const int32_t* regions = region_row(y, &offset);
      for (int64_t x = 0; x < r_.width; x += 8) {
        uint64_t eight;
        memcpy(&eight, mine.flags + x, sizeof eight);
        count += sum_of_bytes(eight);
        if (regions == nullptr || eight == 0) continue;  // most pixels are no boundary
        add_boundary(regions + x, offset, eight, r_.width - x, mine.sums);
      }
      mine.sums.boundary += count;
    }
  });
}

void ImageJob::make_contours(int first) {
  const ClassMap map = {r_, b_, image_.labels, image_.stride, w_.grid_columns};
  image_.contours.trace(map, team_, first);
}

void ImageJob::make_boxes() {
  team_.run(r_.height, row_grain(), [&](int64_t begin, int64_t end, int slot) {
    int64_t* boxes = w_.rows[slot].sums.region_box;
    for (int64_t y = begin; y < end; ++y) {
      const int32_t* regions = r_.segment_row(b_, y);
      for (int64_t x = 0; x < r_.width; ++x) {
        if (regions[x] < 0) continue;
        int64_t* box = boxes + int64_t{regions[x]} * 4;
        box[0] = std::min(box[0], x);
        box[1] = std::min(box[1], y);
        box[2] = std::max(box[2], x);
        box[3] = std::max(box[3], y);
      }
    }
  });
}

// Maps of an image with bad inputs are zero.
void ImageJob::write_maps(bool good) {
  const auto write = [good](auto* to, const auto* from, int64_t n) {
    if (good) {
      std::copy(from, from + n, to);
    } else {
      std::fill(to, to + n, 0);
    }
  };
  const int64_t cells = r_.grid_height * r_.grid_width;
  if (out_.difficulty_grid) write(out_.difficulty_grid + b_ * cells, image_.grid, cells);
  for (int64_t y = 0; y < r_.height; ++y) {
    const int64_t at = (b_ * r_.height + y) * r_.width;
    if (out_.difficulty_map) write(out_.difficulty_map + at, difficulty_row(y), r_.width);
    if (out_.class_map) write(out_.class_map + at, label_row(y), r_.width);
  }
}

// Pieces are small, so that the last ones end together, also if a thread comes late.
int64_t ImageJob::row_grain() const {
  return std::max<int64_t>(8, r_.height / (12 * static_cast<int64_t>(w_.rows.size())));
}

// Where a piece of rows begins that was to begin at y: not among rows that are scored at once.
int64_t ImageJob::first_row(int64_t y) const {
  const auto goes_on = [&](int64_t row) {  // between the same source rows as the row before
    if (row == 0 || row >= r_.height) return false;
    const Tap before = w_.logits_y.at(row - 1), here = w_.logits_y.at(row);
    return before.first == here.first && before.second == here.second;
  };
  int64_t before = 0;
  while (goes_on(y - before)) ++before;
  for (; before % kRowsAtOnce != 0 && goes_on(y); ++before) ++y;
  return y;
}

const int32_t* ImageJob::region_row(int64_t y, int64_t* offset) const {
  *offset = 0;
  if (r_.region_kind == DEAL_REGIONS_SEGMENTS) return r_.segment_row(b_, y);
  if (r_.region_kind == DEAL_REGIONS_NONE) return nullptr;
  *offset = y / r_.region_cell * r_.region_columns;
  return w_.grid_columns;
}

}  // namespace deal
