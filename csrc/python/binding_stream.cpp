#include "python/binding_stream.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "abi/deal_stream.h"

namespace py = pybind11;

namespace deal {
namespace {

template <class T>
using Dense = py::array_t<T, py::array::c_style>;

void check(deal_status status) {
  if (status != DEAL_OK) throw py::value_error(deal_last_error());
}

const uint8_t* signature_of(const std::optional<py::bytes>& signature) {
  if (!signature) return nullptr;
  const auto bytes = static_cast<std::string_view>(*signature);
  if (bytes.size() != DEAL_THUMBNAIL_BYTES) throw py::value_error("a signature has 192 bytes");
  return reinterpret_cast<const uint8_t*>(bytes.data());
}

class NativeStream {
 public:
  explicit NativeStream(const py::dict& given) {
    deal_stream_options o;
    DEAL_INIT(o);
    const auto set = [&](const char* name, auto* field) {
      using T = std::remove_reference_t<decltype(*field)>;
      if (given.contains(name)) *field = py::cast<T>(given[name]);
    };
    set("max_frames", &o.max_frames);
    set("max_bytes", &o.max_bytes);
    set("window_ns", &o.window_ns);
    set("max_frames_per_window", &o.max_frames_per_window);
    set("max_bytes_per_window", &o.max_bytes_per_window);
    set("min_gap_ns", &o.min_gap_ns);
    set("look_ahead_ns", &o.look_ahead_ns);
    set("context_before_ns", &o.context_before_ns);
    set("context_after_ns", &o.context_after_ns);
    set("max_context_frames", &o.max_context_frames);
    set("near_threshold", &o.near_threshold);
    set("near", &o.near);
    set("pending", &o.pending);
    set("groups", &o.groups);
    set("draw", &o.draw);
    set("beta", &o.beta);
    set("random_share", &o.random_share);
    set("seed", &o.seed);
    check(deal_stream_size(&o, &size_));
    memory_.reset(static_cast<char*>(::operator new(static_cast<size_t>(size_) + 16)));
    void* start = memory_.get();
    size_t space = static_cast<size_t>(size_) + 16;
    std::align(16, static_cast<size_t>(size_), start, space);
    check(deal_stream_init(&o, start, size_, &stream_));
  }

  int64_t size() const { return size_; }

  py::list push(uint64_t id, uint64_t name_hash, int64_t timestamp_ns, int64_t bytes, double score,
                uint64_t sequence, int32_t camera, const std::optional<py::bytes>& signature) {
    const deal_stream_frame f =
        frame(id, name_hash, timestamp_ns, bytes, score, sequence, camera, signature);
    int64_t count;
    check(deal_stream_push(stream_, &f, room_, kRoom, &count));
    return rest(count);
  }

  py::list end() {
    int64_t count;
    check(deal_stream_end(stream_, room_, kRoom, &count));
    return rest(count);
  }

  py::list kept() const {
    int64_t count;
    check(deal_stream_kept(stream_, nullptr, 0, &count));
    std::vector<deal_decision> found(static_cast<size_t>(count));
    check(deal_stream_kept(stream_, found.data(), count, &count));
    py::list list;
    for (const deal_decision& decision : found) list.append(tuple_of(decision));
    return list;
  }

  py::object best() const {
    deal_decision decision;
    int32_t found;
    check(deal_stream_best(stream_, &decision, &found));
    if (found == 0) return py::none();
    return tuple_of(decision);
  }

  void sent(uint64_t id) { check(deal_stream_sent(stream_, id)); }

  void restore(uint64_t id, uint64_t name_hash, int64_t timestamp_ns, int64_t bytes, double score,
               uint64_t sequence, int32_t camera, const std::optional<py::bytes>& signature,
               uint64_t arrival, int32_t action, int32_t why, bool sent) {
    const deal_stream_frame f =
        frame(id, name_hash, timestamp_ns, bytes, score, sequence, camera, signature);
    deal_decision d = {};
    d.arrival = arrival;
    d.action = action;
    d.why = why;
    d.sent = sent ? 1 : 0;
    check(deal_stream_restore(stream_, &f, &d));
  }

  py::dict counters() const {
    deal_stream_counters c;
    DEAL_INIT(c);
    check(deal_stream_count(stream_, &c));
    py::dict found;
    found["pushed"] = c.pushed;
    found["not_finite"] = c.not_finite;
    found["negative"] = c.negative;
    found["repeated"] = c.repeated;
    found["forced"] = c.forced;
    found["overflow"] = c.overflow;
    found["clock_steps"] = c.clock_steps;
    found["ranked"] = c.ranked;
    found["random"] = c.random;
    found["context"] = c.context;
    found["waiting"] = c.waiting;
    found["bytes"] = c.bytes;
    return found;
  }

 private:
  static constexpr int64_t kRoom = 64;

  static deal_stream_frame frame(uint64_t id, uint64_t name_hash, int64_t timestamp_ns,
                                 int64_t bytes, double score, uint64_t sequence, int32_t camera,
                                 const std::optional<py::bytes>& signature) {
    deal_stream_frame f;
    DEAL_INIT(f);
    f.id = id;
    f.name_hash = name_hash;
    f.timestamp_ns = timestamp_ns;
    f.bytes = bytes;
    f.score = score;
    f.sequence = sequence;
    f.camera = camera;
    f.signature = signature_of(signature);
    return f;
  }

  static py::tuple tuple_of(const deal_decision& d) {
    return py::make_tuple(d.id, d.arrival, d.score, d.key, d.timestamp_ns, d.action, d.why,
                          d.waiting != 0, d.sent != 0);
  }

  py::list rest(int64_t count) {
    py::list list;
    while (count > 0) {
      for (int64_t i = 0; i < count; ++i) list.append(tuple_of(room_[i]));
      check(deal_stream_rest(stream_, room_, kRoom, &count));
    }
    return list;
  }

  struct Delete {
    void operator()(char* memory) const { ::operator delete(memory); }
  };
  int64_t size_ = 0;
  std::unique_ptr<char, Delete> memory_;
  deal_stream* stream_ = nullptr;
  deal_decision room_[kRoom];
};

uint64_t name_hash(const py::bytes& name) {
  const auto text = static_cast<std::string_view>(name);
  return deal_name_hash(text.data(), text.size());
}

}  // namespace

void bind_stream(py::module_& m) {
  m.def("name_hash", &name_hash, py::arg("name"));
  m.def("why_name", [](int32_t why) { return std::string(deal_why_name(why)); }, py::arg("why"));
  py::class_<NativeStream>(m, "FrameStream")
      .def(py::init<const py::dict&>(), py::arg("options"))
      .def_property_readonly("memory", &NativeStream::size)
      .def("push", &NativeStream::push, py::arg("frame_id"), py::arg("name_hash"),
           py::arg("timestamp_ns"), py::arg("size"), py::arg("score"), py::arg("sequence"),
           py::arg("camera"), py::arg("signature"))
      .def("end", &NativeStream::end)
      .def("kept", &NativeStream::kept)
      .def("best", &NativeStream::best)
      .def("sent", &NativeStream::sent, py::arg("frame_id"))
      .def("restore", &NativeStream::restore, py::arg("frame_id"), py::arg("name_hash"),
           py::arg("timestamp_ns"), py::arg("size"), py::arg("score"), py::arg("sequence"),
           py::arg("camera"), py::arg("signature"), py::arg("arrival"), py::arg("action"),
           py::arg("why"), py::arg("sent"))
      .def("counters", &NativeStream::counters);
}

}  // namespace deal
