#include "python/binding_resample.h"

#include <pybind11/numpy.h>

#include "cpu/resample.h"

namespace py = pybind11;

namespace deal {
namespace {

using Image = py::array_t<uint8_t, py::array::c_style>;

Image resample(const Image& image, int64_t height, int64_t width, bool bicubic, bool vector) {
  if (image.ndim() != 3 || image.shape(2) != 3 || image.size() == 0 || height < 1 || width < 1) {
    throw py::value_error("an image [H, W, 3] and a size of at least 1×1 are needed");
  }
  Image out({height, width, int64_t{3}});
  const uint8_t* from = image.data();
  uint8_t* to = out.mutable_data();
  {
    const py::gil_scoped_release release;
    resample_rgb(packed(from, image.shape(0), image.shape(1)), to, height, width,
                 bicubic ? ResampleFilter::kBicubic : ResampleFilter::kBilinear, vector);
  }
  return out;
}

}  // namespace

void bind_resample(py::module_& m) {
  m.def("resample", &resample, py::arg("image").noconvert(), py::arg("height"), py::arg("width"),
        py::arg("bicubic"), py::arg("vector") = true);
}

}  // namespace deal
