#include "runtime.hpp"

#include <stdexcept>
#include <vector>

#include <onnxruntime_c_api.h>

namespace {

const OrtApi& api() {
  static const OrtApi* found = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (found == nullptr) {
    throw std::runtime_error("the library of ONNX Runtime is older than its header: upgrade it");
  }
  return *found;
}

void check(OrtStatus* status) {
  if (status == nullptr) return;
  const std::string text = api().GetErrorMessage(status);
  api().ReleaseStatus(status);
  throw std::runtime_error(text);
}

// An object of ONNX Runtime and the function that releases it.
template <class T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

template <class T, class Make>
Owned<T> made(void (*release)(T*), Make&& make) {
  T* object = nullptr;
  check(make(&object));
  return Owned<T>(object, release);
}

}  // namespace

struct Runtime::State {
  const deal::Model& model;
  Owned<OrtEnv> environment;
  Owned<OrtSession> session;
  Owned<OrtMemoryInfo> memory;
  Owned<OrtValue> logits;
  std::vector<char> input;
  std::array<std::int64_t, 4> shape;
};

Runtime::Runtime(const std::string& path, const deal::Model& model) {
  auto environment = made(api().ReleaseEnv, [](OrtEnv** out) {
    return api().CreateEnv(ORT_LOGGING_LEVEL_ERROR, "rig", out);
  });
  const auto options = made(api().ReleaseSessionOptions, [](OrtSessionOptions** out) {
    return api().CreateSessionOptions(out);
  });
  check(api().SetIntraOpNumThreads(options.get(), 1));
  // Without these, some models give other numbers than deal's.
  for (const deal_session_entry& entry : model.session_entries()) {
    check(api().AddSessionConfigEntry(options.get(), entry.key, entry.value));
  }
  auto session = made(api().ReleaseSession, [&](OrtSession** out) {
    return api().CreateSession(environment.get(), path.c_str(), options.get(), out);
  });
  auto memory = made(api().ReleaseMemoryInfo, [](OrtMemoryInfo** out) {
    return api().CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, out);
  });
  state_.reset(new State{model,
                         std::move(environment),
                         std::move(session),
                         std::move(memory),
                         Owned<OrtValue>(nullptr, api().ReleaseValue),
                         {},
                         {}});
}

Runtime::~Runtime() = default;

void* Runtime::input(std::int64_t height, std::int64_t width) {
  const deal_model& model = state_->model.get();
  state_->shape = input_shape(model, height, width);
  const std::int64_t bytes = 3 * height * width * (model.input_dtype == DEAL_FLOAT32 ? 4 : 1);
  state_->input.resize(static_cast<std::size_t>(bytes));
  return state_->input.data();
}

Logits Runtime::run() {
  const deal_model& model = state_->model.get();
  const auto type = model.input_dtype == DEAL_FLOAT32 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT
                                                      : ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
  const auto image = made(api().ReleaseValue, [&](OrtValue** out) {
    return api().CreateTensorWithDataAsOrtValue(state_->memory.get(), state_->input.data(),
                                                state_->input.size(), state_->shape.data(),
                                                state_->shape.size(), type, out);
  });
  const OrtValue* given = image.get();
  OrtValue* found = nullptr;
  check(api().Run(state_->session.get(), nullptr, &model.input_name, &given, 1, &model.output_name,
                  1, &found));
  state_->logits.reset(found);
  const auto facts = made(api().ReleaseTensorTypeAndShapeInfo,
                          [&](auto** out) { return api().GetTensorTypeAndShape(found, out); });
  Logits logits{};
  check(api().GetDimensions(facts.get(), logits.shape.data(), logits.shape.size()));
  void* data = nullptr;
  check(api().GetTensorMutableData(found, &data));
  logits.data = static_cast<const float*>(data);
  return logits;
}
