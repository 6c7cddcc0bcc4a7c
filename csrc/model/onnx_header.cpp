#include "model/onnx_header.h"

#include <string.h>

#include <algorithm>
#include <set>

#include "model/text.h"
#include "model/wire.h"

namespace deal {
namespace {

constexpr int kDeepest = 100;  // messages within messages, protobuf's own limit

// Messages of onnx.proto that may hold tensors, and where.
enum Message { kModel, kTraining, kGraph, kFunction, kNode, kAttribute, kSparse, kTensor, kEntry };
struct Within {
  Message holder;
  uint32_t number;
  Message held;
};
constexpr Within kWithin[] = {
    {kModel, 7, kGraph},         {kModel, 20, kTraining},   {kModel, 25, kFunction},
    {kTraining, 1, kGraph},      {kTraining, 2, kGraph},    {kGraph, 1, kNode},
    {kGraph, 5, kTensor},        {kGraph, 15, kSparse},     {kFunction, 7, kNode},
    {kFunction, 11, kAttribute}, {kNode, 5, kAttribute},    {kAttribute, 5, kTensor},
    {kAttribute, 6, kGraph},     {kAttribute, 10, kTensor}, {kAttribute, 11, kGraph},
    {kAttribute, 22, kSparse},   {kAttribute, 23, kSparse}, {kSparse, 1, kTensor},
    {kSparse, 2, kTensor},       {kTensor, 13, kEntry},
};

const Within* within(Message holder, uint32_t number) {
  for (const Within& w : kWithin) {
    if (w.holder == holder && w.number == number) return &w;
  }
  return nullptr;
}

std::string_view text(std::string_view bytes) {
  if (!is_utf8(bytes)) no_model("a name is not UTF-8");
  return bytes;
}

// A field that may occur once: protobuf takes the last, no writer repeats it.
struct Once {
  bool found = false;
  WireField field = {};

  void set(const WireField& given, Wire wire) {
    if (found) no_model("a field occurs twice but may occur only once");
    found = true;
    field = typed(given, wire);
  }
  std::string_view bytes() const { return field.bytes; }
};

// The only field of that number and type in a message.
Once only(std::string_view message, uint32_t number, Wire wire) {
  Once found;
  WireField field;
  for (WireReader reader(message); reader.next(field);) {
    if (field.number == number) found.set(field, wire);
  }
  return found;
}

struct Entry {
  Once key, value;
  explicit Entry(std::string_view message) {
    WireField field;
    for (WireReader reader(message); reader.next(field);) {
      if (field.number == 1) key.set(field, kBytes);
      if (field.number == 2) value.set(field, kBytes);
    }
  }
};

int64_t dimension(std::string_view message) {
  Once size, name;
  WireField field;
  for (WireReader reader(message); reader.next(field);) {
    if (field.number == 1) size.set(field, kVarint);
    if (field.number == 2) name.set(field, kBytes);
  }
  if (size.found && name.found) no_model("a dimension with a number and a name");
  return std::max<int64_t>(static_cast<int64_t>(size.field.value), 0);
}

TensorInfo tensor_info(std::string_view message) {
  Once name, type, element, shape;
  WireField field;
  for (WireReader reader(message); reader.next(field);) {
    if (field.number == 1) name.set(field, kBytes);
    if (field.number == 2) type.set(field, kBytes);
  }
  if (!name.found) no_model("a value without a name");
  Once kinds[10];  // tensor, sequence, map, optional, sparse tensor, opaque
  int count = 0;
  for (WireReader reader(type.bytes()); reader.next(field);) {
    const uint32_t n = field.number;
    if (n != 1 && n != 4 && n != 5 && n != 7 && n != 8 && n != 9) continue;
    kinds[n].set(field, kBytes);
    ++count;
  }
  if (count > 1) no_model("a value of several kinds");
  for (WireReader reader(kinds[1].bytes()); reader.next(field);) {
    if (field.number == 1) element.set(field, kVarint);
    if (field.number == 2) shape.set(field, kBytes);
  }
  TensorInfo info = {
      text(name.bytes()), static_cast<int32_t>(element.field.value), shape.found, {}};
  for (WireReader reader(shape.bytes()); reader.next(field);) {
    if (field.number == 1) info.shape.push_back(dimension(typed(field, kBytes).bytes));
  }
  return info;
}

// Finds the files that hold external data of any tensor within a message.
void find_external(std::string_view message, Message kind, int depth,
                   std::vector<std::string>& found) {
  constexpr std::string_view kLocation = "location";
  if (depth > kDeepest) no_model("nested too deeply");
  // Most nodes have no external data, and a search for its key is much faster than a walk.
  if (kind == kNode && message.find(kLocation) == message.npos) return;
  WireField field;
  for (WireReader reader(message); reader.next(field);) {
    const Within* w = within(kind, field.number);
    if (w == nullptr) continue;
    typed(field, kBytes);
    if (w->held != kEntry) {
      find_external(field.bytes, w->held, depth + 1, found);
      continue;
    }
    const Entry entry(field.bytes);
    if (entry.key.bytes() == kLocation) found.emplace_back(text(entry.value.bytes()));
  }
}

const char* element_name(int32_t element) {
  static const char* const names[] = {"unknown", "float32", "uint8",   "int8",    "uint16",
                                      "int16",   "int32",   "int64",   "unknown", "bool",
                                      "float16", "float64", "unknown", "unknown", "unknown",
                                      "unknown", "bfloat16"};
  const int32_t count = sizeof names / sizeof *names;
  return names[element > 0 && element < count ? element : 0];
}

}  // namespace

OnnxHeader parse_onnx(std::string_view model) {
  // By these bytes ONNX Runtime recognises its own format and does not read protobuf.
  if (model.substr(std::min<size_t>(4, model.size()), 4) == "ORTM") no_model("an ORT format model");
  OnnxHeader header;
  Once graph;
  WireField field;
  for (WireReader reader(model); reader.next(field);) {
    if (field.number == 7) graph.set(field, kBytes);
    if (field.number != 14) continue;
    const Entry entry(typed(field, kBytes).bytes);
    const std::string_view key = text(entry.key.bytes()), value = text(entry.value.bytes());
    if (key != "deal") continue;
    header.contract = value;
    header.has_contract = true;
  }
  if (!graph.found) no_model("no graph");
  std::set<std::string_view> weights;
  for (WireReader reader(graph.bytes()); reader.next(field);) {
    const uint32_t n = field.number;
    if (n != 5 && n != 11 && n != 12 && n != 15) continue;
    typed(field, kBytes);
    if (n == 11) header.inputs.push_back(tensor_info(field.bytes));
    if (n == 12) header.outputs.push_back(tensor_info(field.bytes));
    // A sparse tensor has the name of its values.
    const std::string_view values = n == 15 ? only(field.bytes, 1, kBytes).bytes() : field.bytes;
    if (n == 5 || n == 15) weights.insert(text(only(values, 8, kBytes).bytes()));
  }
  std::vector<TensorInfo>& inputs = header.inputs;
  inputs.erase(std::remove_if(inputs.begin(), inputs.end(),
                              [&](const TensorInfo& i) { return weights.count(i.name) != 0; }),
               inputs.end());
  find_external(model, kModel, 0, header.external);
  std::sort(header.external.begin(), header.external.end());
  header.external.erase(std::unique(header.external.begin(), header.external.end()),
                        header.external.end());
  return header;
}

std::string shown(const TensorInfo& info) {
  std::string text =
      "'" + std::string(info.name.substr(0, 80)) + "' (" + element_name(info.element) + " [";
  if (!info.ranked) text += "?";
  for (size_t i = 0; i < info.shape.size() && i < 8; ++i) {
    text += (i > 0 ? "," : "") + (info.shape[i] > 0 ? std::to_string(info.shape[i]) : "?");
  }
  return text + "])";
}

std::string shown(const std::vector<TensorInfo>& infos) {
  std::string text;
  for (size_t i = 0; i < infos.size() && text.size() < 200; ++i) {
    text += (i > 0 ? ", " : "") + shown(infos[i]);
  }
  return text.empty() ? "none" : text;
}

}  // namespace deal
