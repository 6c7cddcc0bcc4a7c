#include "runtime.hpp"

#include <algorithm>
#include <stdexcept>

#include <openvino/openvino.hpp>

struct Runtime::State {
  const deal::Model& model;
  ov::CompiledModel compiled;
  ov::InferRequest request;
};

Runtime::Runtime(const std::string& path, const deal::Model& model)
    : state_(new State{model, {}, {}}) {
  ov::Core core;
  // Without the hint, processors with bfloat16 would compute in bfloat16: other scores.
  state_->compiled =
      core.compile_model(path, "CPU", ov::inference_num_threads(1),
                         ov::hint::inference_precision(ov::element::f32), ov::num_streams(1));
  state_->request = state_->compiled.create_infer_request();
}

Runtime::~Runtime() = default;

void* Runtime::input(std::int64_t height, std::int64_t width) {
  const deal_model& model = state_->model.get();
  const auto shape = input_shape(model, height, width);
  ov::Tensor tensor = state_->request.get_tensor(model.input_name);
  tensor.set_shape(ov::Shape(shape.begin(), shape.end()));
  return tensor.data();
}

Logits Runtime::run() {
  state_->request.infer();
  const ov::Tensor found = state_->request.get_tensor(state_->model->output_name);
  if (found.get_shape().size() != 4) throw std::runtime_error("the logits have no four axes");
  Logits logits{found.data<float>(), {}};
  const ov::Shape shape = found.get_shape();
  std::copy(shape.begin(), shape.end(), logits.shape.begin());
  return logits;
}
