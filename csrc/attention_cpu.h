// Chooses and runs the attention of one image; arithmetic in attention_impl.h.
#pragma once

#include <stdint.h>

#include "kernels.h"
#include "memory.h"
#include "plan.h"
#include "team.h"

namespace deal {

// Beyond it (44 classes) the tables of the polynomial outgrow the caches.
constexpr int64_t kMaxMonomials = 200000;

// Monomials of degree 0...4 in this many classes.
int64_t monomials(int64_t classes);

// True when the polynomial is asked for, or cheaper than all pairs of cells.
bool use_polynomial(const deal_head& head, int64_t cells);

// Arrays of one image on the attention grid; cells are padded with zeros to a multiple of kPad.
struct AttentionArrays {
  int64_t cells, stride;
  float* p;             // [C, stride]
  float* value;         // [stride]  v = weight . p
  float* u;             // [stride]  v moved and scaled to 0...1
  float* one;           // [stride]  1 for a cell, 0 for padding
  float* average;       // [stride]
  float* moments;       // [chunks, 2, terms], polynomial only
  float* coefficients;  // [terms, 2], polynomial only
  float* scratch;       // [slots, 5 * kChunkCells], polynomial only

  void carve(Carver& carver, const Request& request, int slots);
};

// From p and value to a = gamma * average(v) + v + bias, written to value.
void attend(const Kernels& kernels, const deal_head& head, const AttentionArrays& arrays,
            Team& team);

}  // namespace deal
