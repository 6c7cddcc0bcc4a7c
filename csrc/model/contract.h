// The keys of a model contract, as deal/model/keys.py reads them; the table is in
// deal/model/spec.py.
#pragma once

#include <stdint.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "abi/deal_model.h"

namespace deal {

struct ContractHead {
  double gamma = 0.0, bias = 0.0;
  std::vector<double> weight, uncertainty_weight;  // the second is empty if all are 0
  int64_t grid_height = 0, grid_width = 0;
};

struct ContractDropout {
  std::string input;
  int64_t channels = 0;
  double rate = 0.0;
};

// What is not stated is left to the graph.
struct Contract {
  std::vector<std::string> classes;
  std::optional<bool> is_float, is_bgr;  // of input_format
  std::optional<std::vector<std::array<uint8_t, 3>>> palette;
  std::optional<int32_t> ignore_index;
  std::optional<deal_layout> input_layout, output_layout;
  std::optional<std::pair<int64_t, int64_t>> input_size;
  int64_t size_multiple = 1;
  std::optional<int64_t> batch;
  deal_placing placing = DEAL_PLACE_STRETCH;
  std::array<uint8_t, 3> pad_value = {114, 114, 114};
  bool pad_top_left = false;
  deal_filter filter = DEAL_BILINEAR_ANTIALIAS;
  std::optional<std::array<double, 3>> mean, std;
  bool align_corners = false, probabilities = false, sigmoid = false;
  std::optional<ContractHead> head;
  std::vector<ContractDropout> dropout;
  std::optional<std::string> precision, output;
  bool quantised_for_gpu = false;  // by provenance
};

// Reads the keys of a JSON object; they replace those that `contract` has. Errors name `source`.
void read_contract(std::string_view json, const char* source, Contract& contract);

}  // namespace deal
