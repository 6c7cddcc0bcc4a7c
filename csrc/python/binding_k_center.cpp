#include "python/binding_k_center.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <chrono>
#include <optional>
#include <string>

#include "abi/deal.h"
#include "abi/failure.h"
#include "cpu/k_center.h"

namespace py = pybind11;

namespace deal {
namespace {

template <class T>
using Dense = py::array_t<T, py::array::c_style>;

// Whether Python wants to interrupt (Ctrl-C); asked of it at most ten times a second.
class SignalCheck {
 public:
  bool operator()() {
    const auto now = Clock::now();
    if (now < next_) return false;
    next_ = now + std::chrono::milliseconds(100);
    py::gil_scoped_acquire acquire;
    return PyErr_CheckSignals() != 0;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point next_ = Clock::now();
};

const Kernels& kernels_of(int isa) {
  try {
    return choose_kernels(isa);
  } catch (const Failure& failure) {
    throw py::value_error(failure.text);
  }
}

// Validated by deal.diversity: shapes fit, centers are rows and no candidates, `first` is one, and
// there are at least `count` candidates.
py::tuple k_center_greedy(const Dense<float>& features, int64_t count, bool cosine,
                          const Dense<int64_t>& centers, const Dense<bool>& candidates,
                          std::optional<int64_t> first, int threads, int isa) {
  const auto* mask = reinterpret_cast<const uint8_t*>(candidates.data());
  const Metric metric = cosine ? Metric::kCosine : Metric::kEuclidean;
  Dense<int64_t> order(count);
  Dense<double> distances(count);
  int64_t* rows = order.mutable_data();
  double* far = distances.mutable_data();
  std::vector<int64_t> bad;
  bool stopped;
  {
    KCenter greedy(features.data(), features.shape(0), features.shape(1), mask, metric,
                   threads > 0 ? threads : available_cores(), kernels_of(isa), SignalCheck());
    const py::gil_scoped_release release;
    bad = greedy.prepare(centers.data(), centers.size(), count);
    if (bad.empty()) greedy.pick(centers.size(), count, first.value_or(-1), rows, far);
    stopped = greedy.stopped();
  }
  if (stopped) throw py::error_already_set();
  return py::make_tuple(order, distances, bad);
}

}  // namespace

void bind_k_center(py::module_& m) {
  m.def("k_center_greedy", &k_center_greedy, py::arg("features"), py::arg("count"),
        py::arg("cosine"), py::arg("centers"), py::arg("candidates"), py::arg("first"),
        py::arg("threads"), py::arg("isa") = static_cast<int>(DEAL_ISA_AUTO));
}

}  // namespace deal
