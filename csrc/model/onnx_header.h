// The facts that an ONNX file states of its graph, without its weights: deal/model/header.py in
// C++. tests/kernel/test_model.py compares the two.
#pragma once

#include <stdint.h>

#include <string>
#include <string_view>
#include <vector>

namespace deal {

// Element types of ONNX.
enum Element : int32_t {
  kElementFloat32 = 1,
  kElementUint8 = 2,
  kElementFloat16 = 10,
  kElementFloat64 = 11,
  kElementBfloat16 = 16,
};

struct TensorInfo {
  std::string_view name;
  int32_t element;             // 0: not stated
  bool ranked;                 // the file states the rank
  std::vector<int64_t> shape;  // 0: dynamic

  bool is_image_like() const { return ranked && shape.size() == 4; }
  bool operator==(const TensorInfo& other) const {
    return name == other.name && element == other.element && ranked == other.ranked &&
           shape == other.shape;
  }
};

// Texts point into the file's bytes.
struct OnnxHeader {
  std::string_view contract;  // metadata under the key `deal`
  bool has_contract = false;
  std::vector<TensorInfo> inputs, outputs;  // inputs without initializers
  std::vector<std::string> external;        // files with weights, sorted
};

OnnxHeader parse_onnx(std::string_view model);

// For errors: name, type and shape, all of them.
std::string shown(const TensorInfo& info);
std::string shown(const std::vector<TensorInfo>& infos);

}  // namespace deal
