// deal._native: pybind11 over the C ABI. Shapes and dtypes are checked here and in validate.cpp;
// the GIL is released while the kernel runs.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "python/binding_cuda.h"
#include "python/binding_k_center.h"
#include "python/binding_resample.h"
#include "python/binding_scores.h"
#include "python/binding_stream.h"
#include "abi/columns.h"
#include "abi/deal.h"
#include "cuda/device_runtime.h"
#include "cuda/statistics_cuda.h"
#include "python/tensor_py.h"

namespace py = pybind11;

namespace deal {
namespace {

template <class T>
using Dense = py::array_t<T, py::array::c_style>;

void check(deal_status status) {
  if (status == DEAL_OK) return;
  const std::string text = deal_last_error();
  if (status == DEAL_ERROR_INVALID_ARGUMENT) throw py::value_error(text);
  if (status == DEAL_ERROR_OUT_OF_MEMORY) throw std::bad_alloc();
  if (status == DEAL_ERROR_UNSUPPORTED || status == DEAL_ERROR_DEVICE) {
    const bool device = status == DEAL_ERROR_DEVICE;
    PyErr_SetString(device ? PyExc_OSError : PyExc_NotImplementedError, text.c_str());
    throw py::error_already_set();
  }
  throw std::runtime_error(std::string(deal_status_name(status)) + ": " + text);
}

class Context {
 public:
  Context(int threads, int isa, Place cuda) {
    deal_context_options options = {};
    options.struct_size = sizeof options;
    options.device = cuda ? DEAL_CUDA : DEAL_CPU;
    options.device_index = cuda.value_or(0);
    options.threads = threads;
    options.isa = isa;
    check(deal_context_create(&options, &context_));
  }
  ~Context() { deal_context_destroy(context_); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  // `done`, a cudaEvent_t or NULL, is recorded behind the last kernel.
  void run(const deal_input& input, const deal_output& output, Stream stream,
           void* done = nullptr) {
    deal_status status;
    {
      py::gil_scoped_release release;
      void* const on = reinterpret_cast<void*>(stream.value_or(0));
      status = deal_enqueue(context_, &input, &output, on);
      if (status == DEAL_OK && done != nullptr) {
        device_runtime().record_event(done, on);
        device_runtime().synchronize_event(done);  // without spinning, as deal_finish does
      }
      if (status == DEAL_OK) status = deal_finish(context_);
    }
    check(status);
  }

 private:
  deal_context* context_ = nullptr;
};

// A request as Python gives it, and everything it points to.
class Input {
 public:
  Input(const py::object& logits, std::pair<int64_t, int64_t> size, bool align_corners,
        Stream stream)
      : stream_(stream),
        logits_(read_array(logits, "logits", stream)),
        logits_tensor_(as_tensor(logits_, "logits", true)) {
    if (stream && !logits_.cuda) throw py::value_error("stream: host logits take no stream");
    input_.struct_size = sizeof input_;
    input_.logits = &logits_tensor_;
    input_.raster_height = size.first;
    input_.raster_width = size.second;
    input_.sampling = align_corners ? DEAL_ALIGN_CORNERS : DEAL_HALF_PIXEL;
  }

  void set_head(const Dense<float>& weight, float gamma, float bias,
                std::optional<std::pair<int64_t, int64_t>> grid, int attention,
                const std::optional<Dense<float>>& uncertainty_weight) {
    weight_ = weight;
    head_.struct_size = sizeof head_;
    head_.weight = weight_.data();
    head_.channels = weight_.size();
    head_.gamma = gamma;
    head_.bias = bias;
    if (grid) {
      head_.grid_height = grid->first;
      head_.grid_width = grid->second;
    }
    head_.attention = attention;
    if (uncertainty_weight && uncertainty_weight->size() != weight.size()) {
      throw py::value_error("uncertainty_weight: as many numbers as weight are needed");
    }
    uncertainty_weight_ = uncertainty_weight;
    head_.uncertainty_weight = uncertainty_weight_ ? uncertainty_weight_->data() : nullptr;
    input_.head = &head_;
  }
  void set_difficulty(const py::object& difficulty) {
    difficulty_ = read_here(difficulty, "difficulty");
    difficulty_tensor_ = as_tensor(difficulty_, "difficulty", false);
    input_.difficulty = &difficulty_tensor_;
  }
  void set_grid(int64_t cell) {
    regions_.struct_size = sizeof regions_;
    regions_.kind = DEAL_REGIONS_GRID;
    regions_.cell = cell;
    input_.regions = &regions_;
  }
  void set_segments(const py::object& ids, int64_t count) {
    map_ = read_map(ids, "segments", "int32");
    regions_.struct_size = sizeof regions_;
    regions_.kind = DEAL_REGIONS_SEGMENTS;
    regions_.map = static_cast<const int32_t*>(map_.data);
    regions_.shared = map_.shape.size() == 2;
    regions_.count = count;
    input_.regions = &regions_;
  }
  void set_mask(const py::object& mask) {
    mask_ = read_map(mask, "mask", "uint8");
    input_.mask = static_cast<const uint8_t*>(mask_.data);
    input_.mask_shared = mask_.shape.size() == 2;
  }

  // `out`, a float32 array of this shape to write to; for None a new one on the host.
  PyArray read_out(const py::object& out, const std::vector<int64_t>& shape,
                   const char* meaning) const {
    if (out.is_none() && logits_.cuda) {
      throw py::value_error("out: device logits need a float32 array on their device");
    }
    PyArray array = read_here(out.is_none() ? Dense<float>(shape) : out, "out");
    if (array.dtype != "float32" || !array.contiguous() || !array.writable) {
      throw py::type_error("out: a writable, C-contiguous array of float32 is needed");
    }
    if (array.shape != shape) {
      throw py::value_error(std::string("out: shape ") + meaning + " is needed");
    }
    return array;
  }

  Place cuda() const { return logits_.cuda; }
  Stream stream() const { return stream_; }
  const deal_input& get() const { return input_; }
  deal_sizes sizes() const {
    deal_sizes sizes = {};
    sizes.struct_size = sizeof sizes;
    check(deal_output_sizes(&input_, &sizes));
    return sizes;
  }

 private:
  // An array that lies where the logits do: nothing is copied from one place to another.
  PyArray read_here(const py::object& object, const char* name) const {
    PyArray array = read_array(object, name, stream_);
    const auto place = [](const Place& cuda) {
      return cuda ? "on cuda:" + std::to_string(*cuda) : std::string("on the host");
    };
    if (array.cuda != logits_.cuda) {
      throw py::value_error(std::string(name) + " lies " + place(array.cuda) + ", the logits " +
                            place(logits_.cuda) + ": move it there");
    }
    return array;
  }
  // [H, W] for all images or [B, H, W] of the raster.
  PyArray read_map(const py::object& object, const char* name, const char* dtype) const {
    PyArray map = read_here(object, name);
    std::vector<int64_t> shape = {input_.raster_height, input_.raster_width};
    if (map.shape.size() == 3) shape.insert(shape.begin(), logits_tensor_.batch);
    if (map.shape != shape) {
      throw py::value_error(std::string(name) + ": shape [" + std::to_string(input_.raster_height) +
                            ", " + std::to_string(input_.raster_width) +
                            "] of the raster is needed, alone or for each image of the batch");
    }
    if (map.dtype != dtype || !map.contiguous()) {
      throw py::type_error(std::string(name) + ": " + map.dtype + " values; C-contiguous " + dtype +
                           " is needed");
    }
    return map;
  }

  Stream stream_;
  PyArray logits_, difficulty_, map_, mask_;
  deal_tensor logits_tensor_, difficulty_tensor_ = {};
  Dense<float> weight_;
  std::optional<Dense<float>> uncertainty_weight_;
  deal_head head_ = {};
  deal_regions regions_ = {};
  deal_input input_ = {};
};

template <class T>
T* add(py::dict& columns, const char* name, std::vector<py::ssize_t> shape) {
  Dense<T> array(std::move(shape));
  T* data = array.mutable_data();
  columns[name] = std::move(array);
  return data;
}

py::tuple statistics(Context& context, const Input& input, std::optional<uintptr_t> done,
                     bool contours) {
  const deal_sizes s = input.sizes();
  const auto wanted = [&](Table table, Part part) {
    if (table == Table::region && s.regions == 0) return false;
    if (part == Part::difficulty) return s.grid_height > 0;
    if (part == Part::committee) return input.get().logits->members > 1;
    return part != Part::contours || contours;
  };
  const auto shape_of = [&](Table table, Shape shape) {
    std::vector<py::ssize_t> sizes = {s.batch};
    if (table == Table::region) sizes.push_back(s.regions);
    if (shape == Shape::levels) sizes.push_back(DEAL_HISTOGRAM_LEVELS);
    if (shape == Shape::classes) sizes.push_back(s.classes);
    return sizes;
  };
  py::dict images, regions;
  deal_output o = {};
  o.struct_size = sizeof o;
  Dense<int64_t> nonfinite({s.batch});
  o.nonfinite = nonfinite.mutable_data();
#define DEAL_COLUMN(table, name, type, shape, part)                                               \
  if (wanted(Table::table, Part::part)) {                                                         \
    o.DEAL_FIELD(table, name) = add<type>(Table::table == Table::image ? images : regions, #name, \
                                          shape_of(Table::table, Shape::shape));                  \
  }
#include "abi/columns.def"
  context.run(input.get(), o, input.stream(), reinterpret_cast<void*>(done.value_or(0)));
  return py::make_tuple(images, regions, nonfinite);
}

// Of every column: table, name, NumPy's name of its type, shape and part (columns.def).
py::list columns() {
  static constexpr const char* kTexts[][5] = {
#define DEAL_COLUMN(table, name, type, shape, part) \
  {#table, #name, std::is_same_v<type, double> ? "float64" : "int64", #shape, #part},
#include "abi/columns.def"
  };
  py::list all;
  for (const auto& t : kTexts) all.append(py::make_tuple(t[0], t[1], t[2], t[3], t[4]));
  return all;
}

// The difficulty map [B, H, W], in `out` unless that is None, and the count of bad inputs an image.
py::tuple difficulty_map(Context& context, const Input& input, const py::object& out) {
  const int64_t batch = input.sizes().batch;
  const PyArray map =
      input.read_out(out, {batch, input.get().raster_height, input.get().raster_width},
                     "[batch, raster height, raster width]");
  Dense<int64_t> nonfinite(batch);
  deal_output o = {};
  o.struct_size = sizeof o;
  o.nonfinite = nonfinite.mutable_data();
  o.difficulty_map = static_cast<float*>(map.data);
  context.run(input.get(), o, input.stream());
  return py::make_tuple(out.is_none() ? map.owner : out, nonfinite);
}

// The difficulty before the sigmoid on its own grid, [B, gh, gw], likewise.
py::tuple difficulty_grid(Context& context, const Input& input, const py::object& out) {
  const deal_sizes s = input.sizes();
  const PyArray grid = input.read_out(out, {s.batch, s.grid_height, s.grid_width},
                                      "[batch, grid height, grid width]");
  Dense<int64_t> nonfinite(s.batch);
  deal_output o = {};
  o.struct_size = sizeof o;
  o.nonfinite = nonfinite.mutable_data();
  o.difficulty_grid = static_cast<float*>(grid.data);
  context.run(input.get(), o, input.stream());
  return py::make_tuple(out.is_none() ? grid.owner : out, nonfinite);
}

// The class map [B, H, W] on the host, and the count of bad inputs an image.
py::tuple class_map(Context& context, const Input& input) {
  const int64_t batch = input.sizes().batch;
  Dense<uint8_t> map({batch, input.get().raster_height, input.get().raster_width});
  Dense<int64_t> nonfinite(batch);
  deal_output o = {};
  o.struct_size = sizeof o;
  o.nonfinite = nonfinite.mutable_data();
  o.class_map = map.mutable_data();
  if (!input.cuda()) {
    context.run(input.get(), o, input.stream());
    return py::make_tuple(map, nonfinite);
  }
  const auto size = static_cast<size_t>(map.size());
  const std::unique_ptr<void, void (*)(void*)> scratch(
      device_runtime().take(*input.cuda(), MemoryKind::kDevice, size),
      [](void* memory) { device_runtime().give_back(MemoryKind::kDevice, memory); });
  o.class_map = static_cast<uint8_t*>(scratch.get());
  context.run(input.get(), o, input.stream());
  void* const on = reinterpret_cast<void*>(input.stream().value_or(0));
  device_runtime().copy(map.mutable_data(), scratch.get(), size, on);
  device_runtime().synchronize_stream(on);
  return py::make_tuple(map, nonfinite);
}

// The areas of a map [H, W]: their ids, and how many there are.
py::tuple components(const Dense<int32_t>& map, int64_t min_pixels) {
  if (map.ndim() != 2) throw py::value_error("a map [H, W] is needed");
  Dense<int32_t> ids({map.shape(0), map.shape(1)});
  int32_t* const out = ids.mutable_data();
  int64_t count = 0;
  deal_status status;
  {
    py::gil_scoped_release release;
    status = deal_components(map.data(), map.shape(0), map.shape(1), min_pixels, out, &count);
  }
  check(status);
  return py::make_tuple(ids, count);
}

}  // namespace
}  // namespace deal

PYBIND11_MODULE(_native, m) {
  using namespace deal;
  m.doc() = "Native kernel of deal: statistics of segmentation logits (csrc/abi/deal.h).";
  py::register_exception_translator([](std::exception_ptr failure) {
    try {
      if (failure) std::rethrow_exception(failure);
    } catch (const DeviceError& error) {
      PyErr_SetString(PyExc_OSError, error.what());
    }
  });
  m.attr("ISA_AUTO") = static_cast<int>(DEAL_ISA_AUTO);
  m.attr("ISA_PORTABLE") = static_cast<int>(DEAL_ISA_PORTABLE);
  m.attr("ISA_AVX2") = static_cast<int>(DEAL_ISA_AVX2);
  m.attr("ISA_AVX512") = static_cast<int>(DEAL_ISA_AVX512);
  m.attr("ISA_NEON") = static_cast<int>(DEAL_ISA_NEON);
  m.attr("ATTENTION_AUTO") = static_cast<int>(DEAL_ATTENTION_AUTO);
  m.attr("ATTENTION_DIRECT") = static_cast<int>(DEAL_ATTENTION_DIRECT);
  m.attr("ATTENTION_POLYNOMIAL") = static_cast<int>(DEAL_ATTENTION_POLYNOMIAL);
  m.def("build_info", [] { return std::string(deal_build_info()); });
  m.def("columns", &columns);
  m.def("version", [] { return std::string(deal_version()); });

  py::class_<Context>(m, "Context")
      .def(py::init<int, int, Place>(), py::arg("threads") = 0,
           py::arg("isa") = static_cast<int>(DEAL_ISA_AUTO), py::arg("cuda") = py::none());
  py::class_<Input>(m, "Input")
      .def(py::init<const py::object&, std::pair<int64_t, int64_t>, bool, Stream>(),
           py::arg("logits"), py::arg("size"), py::arg("align_corners"),
           py::arg("stream") = py::none())
      .def_property_readonly("cuda", &Input::cuda)
      .def("set_head", &Input::set_head, py::arg("weight"), py::arg("gamma"), py::arg("bias"),
           py::arg("grid"), py::arg("attention"), py::arg("uncertainty_weight") = py::none())
      .def("set_difficulty", &Input::set_difficulty, py::arg("difficulty"))
      .def("set_grid", &Input::set_grid, py::arg("cell"))
      .def("set_segments", &Input::set_segments, py::arg("ids"), py::arg("count"))
      .def("set_mask", &Input::set_mask, py::arg("mask"));
  m.def("statistics", &statistics, py::arg("context"), py::arg("request"),
        py::arg("done") = py::none(), py::arg("contours") = true);
  m.def("difficulty_map", &difficulty_map, py::arg("context"), py::arg("request"), py::arg("out"));
  m.def("difficulty_grid", &difficulty_grid, py::arg("context"), py::arg("request"),
        py::arg("out"));
  m.def("class_map", &class_map, py::arg("context"), py::arg("request"));
  m.def("components", &components, py::arg("ids"), py::arg("min_pixels"));
  bind_cuda(m);
  bind_k_center(m);
  bind_resample(m);
  bind_scores(m);
  bind_stream(m);
}
