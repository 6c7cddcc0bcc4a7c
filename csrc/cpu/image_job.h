// One image, stage by stage, each stage over a team of threads.
#pragma once

#include <stdint.h>

#include "abi/deal.h"
#include "cpu/kernels.h"
#include "abi/needs.h"
#include "abi/request.h"
#include "cpu/team.h"
#include "cpu/workspace.h"

namespace deal {

class ImageJob {
 public:
  ImageJob(const Kernels& kernels, const Request& request, const deal_output& output,
           Workspace& workspace, ImageWorkspace& image, int64_t b, Team& team)
      : k_(kernels),
        r_(request),
        out_(output),
        needs_(request, output),
        w_(workspace),
        image_(image),
        b_(b),
        team_(team) {}

  // May use the row workspaces first...first + count - 1. False if inputs are not finite.
  bool run(int first, int count);

 private:
  void count_nonfinite();
  void make_grid();
  void make_difficulty();
  void make_statistics(float low, float high);
  void make_boundary();
  void make_committee();
  void make_contours(int first);
  void make_boxes();
  void write_maps(bool good);

  float* difficulty_row(int64_t y) const { return image_.difficulty + y * image_.stride; }
  uint8_t* label_row(int64_t y) const { return image_.labels + y * image_.stride; }
  void add_committee_row(int64_t y, const CommitteeRow& row, Sums& sums) const;
  int64_t row_grain() const;
  int64_t first_row(int64_t y) const;
  // Region ids of a row and what to add to them; NULL without regions.
  const int32_t* region_row(int64_t y, int64_t* offset) const;

  const Kernels& k_;
  const Request& r_;
  const deal_output& out_;
  const Needs needs_;
  Workspace& w_;
  ImageWorkspace& image_;
  const int64_t b_;
  Team& team_;
};

}  // namespace deal
