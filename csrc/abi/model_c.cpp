// The C ABI of models: reads, and packs what was read into the caller's block.
#include <string.h>

#include <algorithm>
#include <string>

#include "abi/deal_model.h"
#include "abi/guard.h"
#include "abi/validate.h"
#include "cpu/resample.h"
#include "model/contract.h"
#include "model/files.h"
#include "model/onnx_header.h"
#include "model/resolve.h"
#include "model/text.h"

namespace deal {
namespace {

constexpr size_t kLargestContract = size_t{1} << 22;  // bytes of JSON

// Hands out parts of the caller's block; without one it only counts.
class Packer {
 public:
  explicit Packer(char* block) : block_(block) {
    const auto address = reinterpret_cast<uintptr_t>(block);
    used_ = block == nullptr ? kAlign - 1 : (kAlign - address % kAlign) % kAlign;
  }
  template <class T>
  T* take(size_t count) {
    T* const part = block_ == nullptr ? nullptr : reinterpret_cast<T*>(block_ + used_);
    used_ += (count * sizeof(T) + kAlign - 1) / kAlign * kAlign;
    return part;
  }
  template <class T>
  void put(T* part, size_t at, const T& value) {
    if (block_ != nullptr) part[at] = value;
  }
  const char* text(std::string_view from) {
    char* const to = take<char>(from.size() + 1);
    if (to == nullptr) return nullptr;
    memcpy(to, from.data(), from.size());
    to[from.size()] = '\0';
    return to;
  }
  size_t used() const { return used_; }

 private:
  static constexpr size_t kAlign = 8;
  char* block_;
  size_t used_;
};

int32_t dtype_of(const TensorInfo& info) {
  switch (info.element) {
    case kElementUint8:
      return DEAL_UINT8;
    case kElementFloat16:
      return DEAL_FLOAT16;
    case kElementBfloat16:
      return DEAL_BFLOAT16;
    case kElementFloat64:
      return DEAL_FLOAT64;
    default:
      return DEAL_FLOAT32;
  }
}

const deal_head* pack_head(const ContractHead& head, Packer& packer) {
  const auto floats = [&](const std::vector<double>& from) {
    float* const to = packer.take<float>(from.size());
    for (size_t i = 0; i < from.size(); ++i) packer.put(to, i, static_cast<float>(from[i]));
    return to;
  };
  deal_head packed;
  DEAL_INIT(packed);
  packed.weight = floats(head.weight);
  packed.channels = static_cast<int64_t>(head.weight.size());
  packed.gamma = static_cast<float>(head.gamma);
  packed.bias = static_cast<float>(head.bias);
  packed.grid_height = head.grid_height;
  packed.grid_width = head.grid_width;
  const std::vector<double>& extra = head.uncertainty_weight;
  packed.uncertainty_weight = extra.empty() ? nullptr : floats(extra);
  deal_head* const to = packer.take<deal_head>(1);
  packer.put(to, 0, packed);
  return to;
}

void pack_session_entries(const Contract& c, Packer& packer, deal_model& m) {
  constexpr deal_session_entry kEntries[] = {
      // Else ONNX Runtime rounds weights to 8 bits that an int8 model has in float32.
      {"optimization.disable_specified_optimizers", "WeightBiasQuantization"},
      // Made for GPUs: int8 values are computed as the float32 numbers they stand for.
      {"session.disable_quant_qdq", "1"},
  };
  m.session_entries = c.quantised_for_gpu ? 2 : 1;
  auto* const entries = packer.take<deal_session_entry>(static_cast<size_t>(m.session_entries));
  m.session_entry = entries;
  for (size_t i = 0; i < static_cast<size_t>(m.session_entries); ++i) {
    const char* const key = packer.text(kEntries[i].key);
    packer.put(entries, i, deal_session_entry{key, packer.text(kEntries[i].value)});
  }
}

void pack_input(const Contract& c, const ResolvedModel& r, Packer& packer, deal_model& m) {
  m.input_name = packer.text(r.input->name);
  m.input_dtype = dtype_of(*r.input);
  m.input_layout = r.input_layout;
  m.input_bgr = r.is_bgr;
  m.placing = c.placing;
  m.filter = c.filter;
  m.input_height = r.height;
  m.input_width = r.width;
  m.size_multiple = c.size_multiple;
  m.batch = r.batch;
  std::copy(c.pad_value.begin(), c.pad_value.end(), m.pad_value);
  m.pad_top_left = c.pad_top_left;
  m.normalised = c.mean.has_value();
  for (size_t i = 0; i < 3; ++i) {
    m.mean[i] = c.mean ? (*c.mean)[i] : 0.0;
    m.std[i] = c.std ? (*c.std)[i] : 1.0;
  }
  m.dropouts = static_cast<int64_t>(c.dropout.size());
  auto* const layers = packer.take<deal_dropout_input>(c.dropout.size());
  m.dropout = layers;
  for (size_t i = 0; i < c.dropout.size(); ++i) {
    const ContractDropout& layer = c.dropout[i];
    packer.put(layers, i, deal_dropout_input{packer.text(layer.input), layer.channels, layer.rate});
  }
  pack_session_entries(c, packer, m);
}

void pack_output(const Contract& c, const ResolvedModel& r, Packer& packer, deal_model& m) {
  m.output_name = packer.text(r.output->name);
  m.output_dtype = dtype_of(*r.output);
  m.output_layout = r.output_layout;
  m.probabilities = c.probabilities;
  m.sigmoid = c.sigmoid;
  m.sampling = c.align_corners ? DEAL_ALIGN_CORNERS : DEAL_HALF_PIXEL;
  m.classes = static_cast<int64_t>(c.classes.size());
  auto* const names = packer.take<const char*>(c.classes.size());
  m.class_name = names;
  for (size_t i = 0; i < c.classes.size(); ++i) packer.put(names, i, packer.text(c.classes[i]));
  if (c.palette) {
    auto* const levels = packer.take<uint8_t>(3 * c.palette->size());
    m.palette = levels;
    for (size_t i = 0; i < 3 * c.palette->size(); ++i) {
      packer.put(levels, i, (*c.palette)[i / 3][i % 3]);
    }
  }
  m.has_ignore_index = c.ignore_index.has_value();
  m.ignore_index = c.ignore_index.value_or(0);
  m.precision = c.precision ? packer.text(*c.precision) : nullptr;
  m.difficulty_name = r.has_difficulty ? packer.text("difficulty") : nullptr;
  m.embedding_name = r.has_embedding ? packer.text("embedding") : nullptr;
  m.head = c.head ? pack_head(*c.head, packer) : nullptr;
}

deal_model pack(const Contract& c, const ResolvedModel& r, const std::vector<std::string>& files,
                char* block) {
  Packer packer(block);
  deal_model m = {};
  pack_input(c, r, packer, m);
  pack_output(c, r, packer, m);
  m.weight_files = static_cast<int64_t>(files.size());
  auto* const names = packer.take<const char*>(files.size());
  m.weight_file = names;
  for (size_t i = 0; i < files.size(); ++i) packer.put(names, i, packer.text(files[i]));
  m.block_bytes = static_cast<int64_t>(packer.used());
  return m;
}

// Names become C strings.
void check_names(const OnnxHeader& header) {
  for (const auto* infos : {&header.inputs, &header.outputs}) {
    for (const TensorInfo& info : *infos) {
      if (info.name.find('\0') == info.name.npos) continue;
      fail(DEAL_ERROR_INVALID_ARGUMENT,
           "the name of an input or output has a NUL character: "
           "export the model again");
    }
  }
}

void check_head_fits(const Contract& c) {
  if (!c.head) return;
  const auto usable = [](double v) { return v >= -1e15 && v <= 1e15; };
  const ContractHead& h = *c.head;
  if (usable(h.gamma) && usable(h.bias) && std::all_of(h.weight.begin(), h.weight.end(), usable) &&
      std::all_of(h.uncertainty_weight.begin(), h.uncertainty_weight.end(), usable)) {
    return;
  }
  fail(DEAL_ERROR_INVALID_ARGUMENT,
       "the difficulty head has numbers beyond 1e15: fit it anew with deal fit-head");
}

std::string_view contract_text(std::string_view json, const char* source) {
  if (json.size() > kLargestContract) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "%s is larger than 4 MiB", source);
  }
  return json;
}

deal_model read_model(const std::string& path, char* block, int64_t size) {
  const MappedFile file(path);
  const OnnxHeader header = parse_onnx(file.bytes());
  check_names(header);
  check_weight_files(path, header.external);
  Contract contract;
  if (header.has_contract) {
    read_contract(contract_text(header.contract, "the metadata"), "the metadata", contract);
  }
  const std::string side_car = side_car_of(path);
  if (file_exists(side_car)) {
    const MappedFile given(side_car);
    std::string_view json = contract_text(given.bytes(), "the side-car");
    if (!is_utf8(json)) fail(DEAL_ERROR_INVALID_ARGUMENT, "the side-car is not UTF-8");
    if (json.substr(0, 3) == "\xef\xbb\xbf") json.remove_prefix(3);
    read_contract(json, "the side-car", contract);
  }
  const ResolvedModel resolved = resolve_model(contract, header);
  check_head_fits(contract);
  deal_model m = pack(contract, resolved, header.external, nullptr);
  if (block == nullptr) {
    deal_model only_size = {};
    only_size.block_bytes = m.block_bytes;
    return only_size;
  }
  if (size < m.block_bytes) {
    fail(DEAL_ERROR_OUT_OF_MEMORY,
         "the block has %lld bytes, this model takes %lld: pass a larger "
         "one",
         ll(size), ll(m.block_bytes));
  }
  const int64_t needed = m.block_bytes;
  m = pack(contract, resolved, header.external, block);
  m.block_bytes = needed;
  return m;
}

}  // namespace
}  // namespace deal

extern "C" {

DEAL_API deal_status deal_model_read(const char* path, void* block, int64_t size,
                                     deal_model* model) {
  return deal::guarded([&] {
    if (path == nullptr) deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "path is NULL");
    const size_t struct_size = deal::read_struct(model, "deal_model").struct_size;
    deal_model found = {};
    try {
      found = deal::read_model(path, static_cast<char*>(block), size);
    } catch (const deal::Failure& failure) {
      deal::fail(failure.status, "model %.150s: %.350s", path, failure.text);
    }
    found.struct_size = struct_size;
    memcpy(model, &found, std::min(struct_size, sizeof found));
  });
}

DEAL_API deal_status deal_resize(const uint8_t* rgb, const int64_t* stride, int64_t height,
                                 int64_t width, int32_t filter, uint8_t* out, int64_t out_height,
                                 int64_t out_width) {
  return deal::guarded([&] {
    if (rgb == nullptr || out == nullptr) {
      deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "rgb or out is NULL");
    }
    constexpr int64_t kSide = 65535;  // sums of weights, and bytes of a row, stay far from overflow
    for (const int64_t side : {height, width, out_height, out_width}) {
      if (side >= 1 && side <= kSide) continue;
      deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "a side of %lld pixels; 1 to %lld are possible",
                 deal::ll(side), deal::ll(kSide));
    }
    deal::RgbView image = deal::packed(rgb, height, width);
    if (stride != nullptr) std::copy(stride, stride + 3, image.stride);
    if (filter == DEAL_NEAREST) {
      deal::nearest_rgb(image, out, out_height, out_width);
    } else if (filter == DEAL_BILINEAR_ANTIALIAS || filter == DEAL_BICUBIC_ANTIALIAS) {
      deal::resample_rgb(image, out, out_height, out_width,
                         filter == DEAL_BICUBIC_ANTIALIAS ? deal::ResampleFilter::kBicubic
                                                          : deal::ResampleFilter::kBilinear);
    } else {
      deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "filter %d is no deal_filter", filter);
    }
  });
}

}  // extern "C"
