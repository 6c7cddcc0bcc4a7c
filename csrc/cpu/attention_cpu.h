// Chooses and runs the attention of one image; arithmetic in attention_impl.h.
#pragma once

#include <stdint.h>

#include "pixel/attention_plan.h"
#include "cpu/kernels.h"
#include "cpu/memory.h"
#include "abi/request.h"
#include "cpu/team.h"

namespace deal {

// Arrays of one image on the attention grid; cells are padded with zeros to a multiple of kPad.
struct AttentionArrays {
  int64_t cells, stride;
  float* p;             // [C, stride]
  float* value;         // [stride]  v
  float* u;             // [stride]  v moved and scaled to 0...1
  float* one;           // [stride]  1 for a cell, 0 for padding
  float* average;       // [stride]
  float* rows;          // [cells, C]  p once more, all pairs only
  float* moments;       // [chunks, terms, 2], polynomial only
  float* coefficients;  // [terms, 2], polynomial only
  float* scratch;       // [slots, moment_scratch(C), kChunkCells], polynomial only

  void carve(Carver& carver, const Request& request, int slots);
};

// From p and value to a = gamma * average(v) + v + bias, written to value.
void attend(const Kernels& kernels, const deal_head& head, const AttentionArrays& arrays,
            Team& team);

}  // namespace deal
