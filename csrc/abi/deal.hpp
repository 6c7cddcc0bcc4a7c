/*
 * deal.hpp - the C interface for C++17: errors are exceptions, and memory
 * frees itself.
 *
 * Usage
 *
 *     deal::Context context;  // CPU, every core, best instruction set
 *
 *     auto logits = deal::make<deal_tensor>();  // all fields 0, struct_size set
 *     logits.data = data;
 *     logits.batch = B, logits.channels = C, logits.height = h, logits.width = w;
 *     logits.stride[1] = C * h * w, logits.stride[2] = h * w, logits.stride[3] = w;
 *     logits.stride[4] = 1;
 *     auto input = deal::make<deal_input>();
 *     input.logits = &logits, input.raster_height = 360, input.raster_width = 480;
 *     double entropy[B];
 *     auto output = deal::make<deal_output>();
 *     output.entropy_mean = entropy;
 *     context.compute(input, output);
 *     const std::vector<double> scores = deal::score(deal::acquisition("entropy"), output, B);
 *
 *     auto options = deal::make<deal_stream_options>();
 *     options.max_frames = 500, options.min_gap_ns = 2'000'000'000;
 *     deal::Stream stream(options);
 *     auto frame = deal::make<deal_stream_frame>();
 *     frame.id = 1, frame.timestamp_ns = 1, frame.score = scores[0];
 *     stream.push(frame, [](const deal_decision& decision) {
 *       std::puts(deal_why_name(decision.why));  // DEAL_KEEP, DEAL_EVICT or DEAL_DROP
 *     });
 *
 *     const deal::Model model("model.onnx");
 *     input.head = model->head, input.sampling = model->sampling;
 *     for (const deal_session_entry& entry : model.session_entries()) std::puts(entry.key);
 *
 * Rules: those of the C headers. A call that fails throws deal::Error. Objects move, and are
 * not copied; one thread uses an object at a time. What this header itself allocates is told below.
 */
#ifndef DEAL_HPP
#define DEAL_HPP

#include <array>
#include <cstdio>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "deal.h"
#include "deal_model.h"
#include "deal_select.h"
#include "deal_stream.h"

namespace deal {

/* A failed call: its status, and the text of deal_last_error(). */
class Error : public std::runtime_error {
 public:
  explicit Error(deal_status status) : std::runtime_error(deal_last_error()), status_(status) {}
  deal_status status() const noexcept { return status_; }

 private:
  deal_status status_;
};

inline void check(deal_status status) {
  if (status != DEAL_OK) throw Error(status);
}

/* A struct of the C interface with all fields 0 and its struct_size. */
template <class T>
T make() noexcept {
  T made;
  DEAL_INIT(made);
  return made;
}

class Context {
 public:
  explicit Context(const deal_context_options& options = make<deal_context_options>()) {
    deal_context* created = nullptr;
    check(deal_context_create(&options, &created));
    context_.reset(created);
  }

  /* Takes all memory that a request needs. */
  void reserve(const deal_input& input) { check(deal_reserve(context_.get(), &input)); }
  /* Starts a request; on the CPU it is done on return. */
  void enqueue(const deal_input& input, const deal_output& output, void* stream = nullptr) {
    check(deal_enqueue(context_.get(), &input, &output, stream));
  }
  void finish() { check(deal_finish(context_.get())); }
  void compute(const deal_input& input, const deal_output& output, void* stream = nullptr) {
    enqueue(input, output, stream);
    finish();
  }
  /* What the context did since it was created, and the memory it holds. */
  deal_context_counters counters() const {
    auto counters = make<deal_context_counters>();
    check(deal_context_count(context_.get(), &counters));
    return counters;
  }
  deal_context* get() const noexcept { return context_.get(); }

 private:
  struct Destroy {
    void operator()(deal_context* context) const noexcept { deal_context_destroy(context); }
  };
  std::unique_ptr<deal_context, Destroy> context_;
};

/* The acquisition function of a name such as "ds:entropy"; set its options afterwards. */
inline deal_acquisition acquisition(const char* name) {
  auto made = make<deal_acquisition>();
  check(deal_acquisition_find(name, &made.kind));
  return made;
}

/* Scores of a batch, higher: label sooner. Allocates the vector; deal_score does not. */
inline std::vector<double> score(const deal_acquisition& acquisition, const deal_output& output,
                                 std::int64_t batch) {
  std::vector<double> scores(static_cast<std::size_t>(batch));
  check(deal_score(&acquisition, &output, batch, scores.data()));
  return scores;
}

using Thumbnail = std::array<std::uint8_t, DEAL_THUMBNAIL_BYTES>;

/* The signature of an RGB image of packed rows, or of any strides in bytes: row, column, channel.
 */
inline Thumbnail thumbnail(const std::uint8_t* rgb, std::int64_t height, std::int64_t width,
                           const std::int64_t* stride = nullptr) {
  Thumbnail made;
  check(deal_thumbnail(rgb, stride, height, width, made.data()));
  return made;
}

/* Rows far from each other, in the order of the picks. Allocates the vector, and what deal_k_center
 * does. */
inline std::vector<std::int64_t> k_center(const deal_k_center_options& options,
                                          std::int64_t count) {
  std::vector<std::int64_t> picks(static_cast<std::size_t>(count > 0 ? count : 0));
  check(deal_k_center(&options, count, picks.data(), nullptr));
  return picks;
}

/* An RGB image of packed rows, or of any strides in bytes, resized to [height, width, 3] as a model
 * of this filter takes it. Allocates the vector. */
inline std::vector<std::uint8_t> resize(const std::uint8_t* rgb, std::int64_t height,
                                        std::int64_t width, deal_filter filter,
                                        std::int64_t out_height, std::int64_t out_width,
                                        const std::int64_t* stride = nullptr) {
  const bool fits = out_height > 0 && out_width > 0 && out_height < 65536 && out_width < 65536;
  std::vector<std::uint8_t> made(fits ? static_cast<std::size_t>(out_height * out_width * 3) : 1);
  check(deal_resize(rgb, stride, height, width, filter, made.data(), out_height, out_width));
  return made;
}

/* Neighbours in memory, to loop over. */
template <class T>
class Range {
 public:
  Range(const T* first, std::int64_t count) noexcept : first_(first), count_(count) {}
  const T* begin() const noexcept { return first_; }
  const T* end() const noexcept { return first_ + count_; }
  std::size_t size() const noexcept { return static_cast<std::size_t>(count_); }
  const T& operator[](std::size_t i) const noexcept { return first_[i]; }

 private:
  const T* first_;
  std::int64_t count_;
};

/* What scoring needs to know of an ONNX model. Allocates in the constructor. */
class Model {
 public:
  explicit Model(const std::string& path) {
    check(deal_model_read(path.c_str(), nullptr, 0, &model_));
    block_.resize(static_cast<std::size_t>(model_.block_bytes));
    check(deal_model_read(path.c_str(), block_.data(), model_.block_bytes, &model_));
  }

  Model(Model&&) = default; /* what lies in the block stays where it is */
  Model& operator=(Model&&) = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const deal_model* operator->() const noexcept { return &model_; }
  const deal_model& get() const noexcept { return model_; }
  Range<const char*> class_names() const noexcept { return {model_.class_name, model_.classes}; }
  Range<deal_session_entry> session_entries() const noexcept {
    return {model_.session_entry, model_.session_entries};
  }
  Range<deal_dropout_input> dropouts() const noexcept { return {model_.dropout, model_.dropouts}; }
  Range<const char*> weight_files() const noexcept {
    return {model_.weight_file, model_.weight_files};
  }

 private:
  std::vector<char> block_;
  deal_model model_ = make<deal_model>();
};

/* The selector of a stream. Allocates once, in the constructor. */
class Stream {
 public:
  explicit Stream(const deal_stream_options& options) {
    check(deal_stream_size(&options, &size_));
    memory_.reset(static_cast<char*>(
        ::operator new(static_cast<std::size_t>(size_), std::align_val_t{kAlignment})));
    check(deal_stream_init(&options, memory_.get(), size_, &stream_));
  }

  /* Bytes of memory. */
  std::int64_t size() const noexcept { return size_; }

  /* Takes a frame and calls told(const deal_decision&) for every decision that follows from it. If
   * told throws, rest() tells the decisions that are left, and has to be called before a push. */
  template <class Told>
  void push(const deal_stream_frame& frame, Told&& told) {
    std::int64_t none = 0;
    check(deal_stream_push(stream_, &frame, nullptr, 0, &none));
    rest(told);
  }
  /* Decides all that waits, as at the end of a trip. */
  template <class Told>
  void end(Told&& told) {
    std::int64_t none = 0;
    check(deal_stream_end(stream_, nullptr, 0, &none));
    rest(told);
  }
  template <class Told>
  void rest(Told&& told) {
    deal_decision decision;
    std::int64_t count = 0;
    while (check(deal_stream_rest(stream_, &decision, 1, &count)), count > 0) told(decision);
  }

  /* All kept frames, in no order. Allocates the vector. */
  std::vector<deal_decision> kept() const {
    std::int64_t count = 0;
    check(deal_stream_kept(stream_, nullptr, 0, &count));
    std::vector<deal_decision> found(static_cast<std::size_t>(count));
    check(deal_stream_kept(stream_, found.data(), count, &count));
    return found;
  }
  deal_stream_counters counters() const {
    auto counters = make<deal_stream_counters>();
    check(deal_stream_count(stream_, &counters));
    return counters;
  }
  /* The best pick that is not sent yet; false if there is none. */
  bool best(deal_decision& decision) const {
    std::int32_t found = 0;
    check(deal_stream_best(stream_, &decision, &found));
    return found != 0;
  }
  void sent(std::uint64_t id) { check(deal_stream_sent(stream_, id)); }
  void restore(const deal_stream_frame& frame, const deal_decision& decision) {
    check(deal_stream_restore(stream_, &frame, &decision));
  }
  deal_stream* get() const noexcept { return stream_; }

 private:
  static constexpr std::size_t kAlignment = 16;

  struct Free {
    void operator()(char* memory) const noexcept {
      ::operator delete(memory, std::align_val_t{kAlignment});
    }
  };
  std::int64_t size_ = 0;
  std::unique_ptr<char, Free> memory_;
  deal_stream* stream_ = nullptr;
};

}  // namespace deal

#endif /* DEAL_HPP */
