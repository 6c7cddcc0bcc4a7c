#include "model/resolve.h"

#include <algorithm>
#include <string>

#include "abi/failure.h"

namespace deal {
namespace {

bool is_floating(const TensorInfo& info) {
  return info.element == kElementFloat32 || info.element == kElementFloat16 ||
         info.element == kElementBfloat16 || info.element == kElementFloat64;
}

bool is_image(const TensorInfo& info) {
  return info.is_image_like() &&
         (info.element == kElementUint8 || info.element == kElementFloat32 ||
          info.element == kElementFloat16 || info.element == kElementFloat64);
}

// As stated, else by the axis of three channels, else as exporters usually write that type.
deal_layout input_layout(const TensorInfo& image, const Contract& contract) {
  if (contract.input_layout) return *contract.input_layout;
  const bool second = image.shape[1] == 3, last = image.shape[3] == 3;
  if (second != last) return second ? DEAL_NCHW : DEAL_NHWC;
  return image.element == kElementUint8 ? DEAL_NHWC : DEAL_NCHW;
}

// The only input besides the masks of dropout layers.
const TensorInfo* image_input(const OnnxHeader& header, const Contract& contract) {
  std::vector<const TensorInfo*> inputs;  // of equal names the last counts
  const auto named = [&](std::string_view name) {
    return std::find_if(inputs.begin(), inputs.end(),
                        [&](const TensorInfo* i) { return i->name == name; });
  };
  for (const TensorInfo& info : header.inputs) {
    const auto same = named(info.name);
    if (same == inputs.end()) {
      inputs.push_back(&info);
    } else {
      *same = &info;
    }
  }
  for (const ContractDropout& layer : contract.dropout) {
    const TensorInfo mask = {layer.input, kElementFloat32, true, {1, layer.channels, 1, 1}};
    const auto found = named(layer.input);
    if (found == inputs.end() || !(**found == mask)) {
      fail(DEAL_ERROR_INVALID_ARGUMENT,
           "dropout names the input %s, but the graph has %.200s: correct dropout in the metadata "
           "or side-car, or make the model with deal export --dropout",
           shown(mask).c_str(), shown(header.inputs).c_str());
    }
    inputs.erase(found);
  }
  if (inputs.size() == 1 && is_image(*inputs[0])) {
    const TensorInfo& image = *inputs[0];
    const int64_t channels = image.shape[input_layout(image, contract) == DEAL_NHWC ? 3 : 1];
    if (channels == 3 || channels == 0) return &image;
  }
  fail(DEAL_ERROR_INVALID_ARGUMENT,
       "the inputs are %.250s; deal needs one image input, uint8 or float, [N,H,W,3] or "
       "[N,3,H,W]: re-export it so",
       shown(header.inputs).c_str());
}

void check_input_sizes(const TensorInfo& image) {
  constexpr int64_t kSide = 65535, kPixels = int64_t{1} << 28, kBatch = 4096;
  int64_t values = 1;
  bool fits = image.shape[0] <= kBatch;
  for (size_t axis = 1; axis < 4; ++axis) {
    const int64_t size = std::max<int64_t>(image.shape[axis], 1);
    fits = fits && size <= kSide;
    values = fits ? values * size : 0;
  }
  if (fits && values <= 3 * kPixels) return;
  fail(DEAL_ERROR_INVALID_ARGUMENT,
       "the input %s is larger than any image (65535 pixels per side, 2^28 in all, batches of "
       "4096): re-export it for the size of your images",
       shown(image).c_str());
}

bool is_side_output(const TensorInfo& info) {
  return info.name == "difficulty" || info.name == "embedding";
}

// Refuses networks whose maps are masks of queries or prototypes instead of classes.
void refuse_instances(const std::vector<const TensorInfo*>& outputs, bool is_named) {
  for (const TensorInfo* list : outputs) {
    if (!is_floating(*list) || !list->ranked || list->shape.size() != 3) continue;
    for (const TensorInfo* map : outputs) {
      if (!is_floating(*map) || !map->is_image_like()) continue;
      const bool queries =
          (std::string(list->name) + std::string(map->name)).find("quer") != std::string::npos;
      const bool alike = list->shape[1] != 0 && list->shape[1] == map->shape[1] && !is_named;
      if (queries || alike) {
        fail(DEAL_ERROR_INVALID_ARGUMENT,
             "%s beside %s: it seems to be a query-based network (MaskFormer), whose maps belong "
             "to queries and not to classes: export a map for each class",
             shown(*list).c_str(), shown(*map).c_str());
      }
      if (!is_named) {
        fail(DEAL_ERROR_INVALID_ARGUMENT,
             "%s beside %s: it seems to be a network that finds objects (YOLO-seg), whose maps "
             "are prototypes of masks; only if they are classes, name one as output",
             shown(*list).c_str(), shown(*map).c_str());
      }
    }
  }
}

// The output of the contract's name or `logits`, or the only possible one.
const TensorInfo* logits_output(const OnnxHeader& header, const Contract& contract) {
  const std::string listed = shown(header.outputs);
  const auto by_name = [&](std::string_view name) -> const TensorInfo* {
    const auto found = std::find_if(header.outputs.rbegin(), header.outputs.rend(),
                                    [&](const TensorInfo& o) { return o.name == name; });
    return found == header.outputs.rend() ? nullptr : &*found;
  };
  if (contract.output && by_name(*contract.output) == nullptr) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "there is no output '%.80s', only %.250s: correct output in the metadata or side-car",
         contract.output->c_str(), listed.c_str());
  }
  const TensorInfo* named = by_name(
      contract.output && !contract.output->empty() ? std::string_view(*contract.output) : "logits");
  std::vector<const TensorInfo*> candidates;
  for (const TensorInfo& info : header.outputs) {
    if (!is_side_output(info)) candidates.push_back(&info);
  }
  refuse_instances(candidates, named != nullptr);
  if (named != nullptr) candidates = {named};
  std::vector<const TensorInfo*> usable;
  for (const TensorInfo* info : candidates) {
    if (is_floating(*info) && (!info->ranked || info->is_image_like())) usable.push_back(info);
  }
  if (usable.size() == 1) return usable[0];
  if (usable.size() > 1) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "several outputs could be logits, %.250s: name one as output in the side-car",
         listed.c_str());
  }
  fail(DEAL_ERROR_INVALID_ARGUMENT,
       "there is no floating output [N,C,h,w] or [N,h,w,C], but %.250s: re-export the logits so, "
       "without argmax",
       listed.c_str());
}

deal_layout output_layout(const TensorInfo& output, int64_t channels, const Contract& contract) {
  if (contract.output_layout) return *contract.output_layout;
  if (!output.is_image_like()) return DEAL_NCHW;
  const int64_t second = output.shape[1], last = output.shape[3];
  return last == channels && second != channels && second != 0 ? DEAL_NHWC : DEAL_NCHW;
}

void set_size(const Contract& contract, ResolvedModel& m) {
  const size_t rows = m.input_layout == DEAL_NHWC ? 1 : 2;
  const int64_t height = m.input->shape[rows], width = m.input->shape[rows + 1];
  if (contract.input_size) {
    m.height = contract.input_size->first;
    m.width = contract.input_size->second;
    if ((height == 0 || height == m.height) && (width == 0 || width == m.width)) return;
  } else if ((height == 0) == (width == 0)) {
    m.height = height;
    m.width = width;
    return;
  }
  fail(DEAL_ERROR_INVALID_ARGUMENT, "the graph takes %s: set input_size to the size that it takes",
       shown(*m.input).c_str());
}

void check_classes(const Contract& c, const ResolvedModel& m) {
  const size_t classes = c.classes.size();
  if (c.sigmoid && classes != 2) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "activation sigmoid means one channel and two classes, background and foreground, but "
         "classes names %zu: re-export with a softmax",
         classes);
  }
  if (!c.sigmoid && classes == 1) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "one class under a softmax has probability 1 everywhere: name two classes, background "
         "first, and set activation to sigmoid");
  }
  if (c.palette && c.palette->size() != classes) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "palette has %zu colours for %zu classes: give one per class",
         c.palette->size(), classes);
  }
  if (c.head && c.head->weight.size() != classes) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "difficulty_head has %zu weights for %zu classes: fit it on this model's logits",
         c.head->weight.size(), classes);
  }
  if (!m.output->ranked) return;
  const int64_t channels = m.output->shape[m.output_layout == DEAL_NCHW ? 1 : 3];
  const int64_t expected = c.sigmoid ? 1 : static_cast<int64_t>(classes);
  if (channels != expected && channels != 0) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "output %s has %lld channels for %zu classes: correct classes or activation in the "
         "metadata or side-car, or re-export the model",
         shown(*m.output).c_str(), ll(channels), classes);
  }
}

void check_input(const Contract& c, const ResolvedModel& m) {
  const bool is_uint8 = m.input->element == kElementUint8;
  const bool is_float = c.is_float.value_or(!is_uint8);
  if (is_float == is_uint8) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "input_format does not fit the input %s; use %s",
         shown(*m.input).c_str(), is_float ? "rgb8 or bgr8" : "float-rgb or float-bgr");
  }
  if (is_float && !(c.mean && c.std)) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "the input is floating: give the mean and std (of 0...1) of its training, [0, 0, 0] and "
         "[1, 1, 1] if the graph normalises");
  }
  if (!is_float && (c.mean || c.std)) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "the input is uint8, so the graph normalises: leave out mean and std");
  }
  if (m.height % c.size_multiple != 0 || m.width % c.size_multiple != 0) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "input_size [%lld, %lld] is not a multiple of size_multiple %lld: correct one of them",
         ll(m.height), ll(m.width), ll(c.size_multiple));
  }
}

}  // namespace

ResolvedModel resolve_model(const Contract& c, const OnnxHeader& header) {
  if (c.classes.empty()) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "the model does not say its classes: write MODEL.json beside it with {\"classes\": ...}, "
         "or export it with deal export");
  }
  ResolvedModel m = {};
  m.input = image_input(header, c);
  check_input_sizes(*m.input);
  m.input_layout = input_layout(*m.input, c);
  m.output = logits_output(header, c);
  m.output_layout =
      output_layout(*m.output, c.sigmoid ? 1 : static_cast<int64_t>(c.classes.size()), c);
  m.is_bgr = c.is_bgr.value_or(false);
  set_size(c, m);
  const int64_t fixed = m.input->shape[0];
  if (c.batch && fixed != 0 && *c.batch != fixed) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "the graph takes batches of %lld, but batch is %lld: correct batch", ll(fixed),
         ll(*c.batch));
  }
  m.batch = c.batch.value_or(fixed);
  for (const TensorInfo& info : header.outputs) {
    m.has_difficulty = m.has_difficulty || info.name == "difficulty";
    m.has_embedding = m.has_embedding || info.name == "embedding";
  }
  check_input(c, m);
  check_classes(c, m);
  return m;
}

}  // namespace deal
