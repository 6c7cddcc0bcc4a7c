// A model contract completed from the graph and checked against it: deal/model/graph.py, spec.py
// and consistency.py in C++.
#pragma once

#include <string_view>

#include "model/contract.h"
#include "model/onnx_header.h"

namespace deal {

struct ResolvedModel {
  const TensorInfo* input;
  const TensorInfo* output;
  deal_layout input_layout, output_layout;
  bool is_bgr;
  int64_t height, width;               // 0, 0: any
  int64_t batch;                       // 0: any
  bool has_difficulty, has_embedding;  // as outputs of these names
};

// Fails with the remedy. The result points into the header.
ResolvedModel resolve_model(const Contract& contract, const OnnxHeader& header);

}  // namespace deal
