// An ONNX network, its logits scored by libdeal.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <deal.hpp>

#include "jpeg.hpp"
#include "runtime.hpp"

class Network {
 public:
  // Reads what deal must know from the model's file. `acquisition` is a name such as "entropy" or
  // "ds:entropy", of a function that scores one image alone. Throws std::exception.
  Network(const std::string& model, const std::string& acquisition);
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  // The score of a frame, which is resized as deal does it; NaN if the network gives no finite
  // logits. Throws std::runtime_error for a frame that cannot be brought to the network's size.
  double score(const Image& image);

 private:
  void fill(const Image& image, void* input) const;

  deal::Model model_;
  Runtime runtime_;
  deal::Context context_;
  deal_acquisition acquisition_;
  deal_output output_ = deal::make<deal_output>();
  std::vector<double> numbers_;  // of one image, and so the others
  std::vector<std::int64_t> counts_;
};
