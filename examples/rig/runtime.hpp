// What runs the network: runtime_openvino.cpp or runtime_onnxruntime.cpp, as CMake was told.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include <deal.hpp>

// float32 [1, C, h, w] or [1, h, w, C], valid until the next run.
struct Logits {
  const float* data;
  std::array<std::int64_t, 4> shape;
};

class Runtime {
 public:
  // Loads the model's file, for one thread on the CPU. Throws std::runtime_error, as run() does.
  Runtime(const std::string& path, const deal::Model& model);
  ~Runtime();

  // Memory for an image of this size, in the data type and layout that the model wants.
  void* input(std::int64_t height, std::int64_t width);
  Logits run();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Shape of the model's input for one image of this size.
inline std::array<std::int64_t, 4> input_shape(const deal_model& model, std::int64_t height,
                                               std::int64_t width) {
  if (model.input_layout == DEAL_NCHW) return {1, 3, height, width};
  return {1, height, width, 3};
}
