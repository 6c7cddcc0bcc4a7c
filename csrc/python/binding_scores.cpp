#include "python/binding_scores.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "abi/deal.h"
#include "pixel/logarithm.h"

namespace py = pybind11;

namespace deal {
namespace {

template <class T>
using Dense = py::array_t<T, py::array::c_style>;

void check(deal_status status) {
  if (status != DEAL_OK) throw py::value_error(deal_last_error());
}

void log_into(const Dense<double>& values, Dense<double> out) {
  if (values.size() != out.size()) throw py::value_error("out has another size");
  const double* from = values.data();
  double* to = out.mutable_data();
  const int64_t n = values.size();
  const py::gil_scoped_release release;
  natural_logs(from, n, to);
}

Dense<uint8_t> thumbnail(const py::array_t<uint8_t>& image) {
  if (image.ndim() != 3 || image.shape(2) != 3 || image.size() == 0) {
    throw py::value_error("an image [H, W, 3] of at least one pixel is needed");
  }
  Dense<uint8_t> out({12, 16});
  const int64_t stride[3] = {image.strides(0), image.strides(1), image.strides(2)};
  const uint8_t* from = image.data();
  uint8_t* to = out.mutable_data();
  deal_status status;
  {
    const py::gil_scoped_release release;
    status = deal_thumbnail(from, stride, image.shape(0), image.shape(1), to);
  }
  check(status);
  return out;
}

const uint8_t* signature(const Dense<uint8_t>& values) {
  if (values.size() != DEAL_THUMBNAIL_BYTES) throw py::value_error("192 bytes are needed");
  return values.data();
}

int64_t difference(const Dense<uint8_t>& a, const Dense<uint8_t>& b) {
  return deal_thumbnail_difference(signature(a), signature(b));
}

// Sets a column of the output to an array of the mapping, if it is there; checks its length.
template <class T>
void set_column(const py::dict& columns, const char* name, py::ssize_t size, T** field,
                std::vector<py::object>* keep) {
  if (!columns.contains(name)) return;
  auto array = py::cast<Dense<T>>(columns[name]);
  if (array.size() != size) throw py::value_error(std::string(name) + " has another length");
  *field = const_cast<T*>(array.data());  // deal_score reads alone
  keep->push_back(std::move(array));
}

Dense<double> score(const std::string& name, const py::dict& columns, int64_t images, int levels,
                    const std::string& edges, double tail, int64_t classes,
                    const std::vector<uint8_t>& focus, const std::vector<int64_t>& totals,
                    const std::vector<std::string>& ids, int64_t seed) {
  deal_acquisition a;
  DEAL_INIT(a);
  check(deal_acquisition_find(name.c_str(), &a.kind));
  a.levels = levels;
  a.edges = edges == "fixed" ? DEAL_EDGES_FIXED : DEAL_EDGES_IMAGE;
  a.tail = tail;
  a.classes = classes;
  const auto full = [&](size_t size, int64_t wanted, const char* what) {
    if (size != 0 && static_cast<int64_t>(size) != wanted) throw py::value_error(what);
    return size != 0;
  };
  if (full(focus.size(), classes, "focus: one mark per class is needed")) a.focus = focus.data();
  if (full(totals.size(), classes, "totals: one per class is needed")) a.totals = totals.data();
  std::vector<const char*> texts;
  for (const std::string& id : ids) {
    if (id.find('\0') != std::string::npos) {  // C would hash what comes before it alone
      throw py::value_error("ids[" + std::to_string(texts.size()) + "] holds a NUL");
    }
    texts.push_back(id.c_str());
  }
  if (full(ids.size(), images, "ids: one per image is needed")) a.ids = texts.data();
  a.seed = seed;
  deal_output o;
  DEAL_INIT(o);
  std::vector<py::object> keep;
#define DEAL_SIZE_row images
#define DEAL_SIZE_levels images* DEAL_HISTOGRAM_LEVELS
#define DEAL_SIZE_classes images* classes
#define DEAL_FIELD_image(name) name
#define DEAL_COLUMN_image(type, name, shape) \
  set_column<type>(columns, #name, DEAL_SIZE_##shape, &o.name, &keep);
#define DEAL_COLUMN_region(type, name, shape)
#define DEAL_COLUMN(table, name, type, shape, part) DEAL_COLUMN_##table(type, name, shape)
#include "abi/columns.def"
  Dense<double> scores(images);
  check(deal_score(&a, &o, images, scores.mutable_data()));
  return scores;
}

}  // namespace

void bind_scores(py::module_& m) {
  m.def("log", &log_into, py::arg("values").noconvert(), py::arg("out").noconvert());
  m.def("thumbnail", &thumbnail, py::arg("image").noconvert());
  m.def("thumbnail_difference", &difference, py::arg("a").noconvert(), py::arg("b").noconvert());
  m.def("score", &score, py::arg("name"), py::arg("columns"), py::arg("images"),
        py::arg("levels") = 0, py::arg("edges") = "image", py::arg("tail") = 0.0,
        py::arg("classes") = 0, py::arg("focus") = std::vector<uint8_t>(),
        py::arg("totals") = std::vector<int64_t>(), py::arg("ids") = std::vector<std::string>(),
        py::arg("seed") = 0);
}

}  // namespace deal
