/* deal.hpp from C++17: what it owns, how it moves, and what it throws. */
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "deal.hpp"

static int passed = 0, failed = 0;

#define CHECK(condition)                                                   \
  do {                                                                     \
    ++(condition ? passed : failed);                                       \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
    }                                                                      \
  } while (0)

template <class Fn>
static std::string thrown(deal_status status, Fn fn) {
  try {
    fn();
  } catch (const deal::Error& error) {
    CHECK(error.status() == status);
    return error.what();
  }
  return "";
}

static bool has(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

static void test_logits_become_scores() {
  float data[2 * 3 * 4 * 5];
  for (int i = 0; i < 2 * 3 * 4 * 5; ++i) data[i] = static_cast<float>(i * 7 % 11) / 3.0f;
  auto logits = deal::make<deal_tensor>();
  logits.data = data, logits.batch = 2, logits.channels = 3, logits.height = 4, logits.width = 5;
  logits.stride[1] = 60, logits.stride[2] = 20, logits.stride[3] = 5, logits.stride[4] = 1;
  logits.size_bytes = sizeof data;
  auto input = deal::make<deal_input>();
  input.logits = &logits, input.raster_height = 8, input.raster_width = 10;
  double entropy[2] = {0.0, 0.0};
  auto output = deal::make<deal_output>();
  output.entropy_mean = entropy;
  deal::Context first;
  deal::Context context(std::move(first));
  context.reserve(input);
  context.compute(input, output);
  CHECK(context.counters().frames == 2 && context.counters().host_bytes > 0);
  const std::vector<double> scores = deal::score(deal::acquisition("entropy"), output, 2);
  CHECK(scores.size() == 2 && scores[0] == entropy[0] && scores[0] > 0.0);
  logits.width = 6;
  const auto refused = thrown(DEAL_ERROR_INVALID_ARGUMENT, [&] { context.compute(input, output); });
  CHECK(has(refused, "size_bytes"));
  CHECK(
      has(thrown(DEAL_ERROR_INVALID_ARGUMENT, [] { deal::acquisition("nonsense"); }), "nonsense"));
}

static void test_a_signature_is_an_array() {
  const std::vector<std::uint8_t> grey(12 * 16 * 3, 77);
  const deal::Thumbnail signature = deal::thumbnail(grey.data(), 12, 16);
  CHECK(signature.front() == 77 && signature.back() == 77);
  CHECK(
      has(thrown(DEAL_ERROR_INVALID_ARGUMENT, [&] { deal::thumbnail(grey.data(), 0, 16); }), "0"));
}

static void test_a_stream_tells_every_decision() {
  auto options = deal::make<deal_stream_options>();
  options.max_frames = 50, options.min_gap_ns = 1000, options.look_ahead_ns = 100000;
  deal::Stream made(options);
  CHECK(made.size() > 0);
  deal::Stream stream(std::move(made));
  auto frame = deal::make<deal_stream_frame>();
  std::vector<deal_decision> told;
  const auto tell = [&](const deal_decision& decision) { told.push_back(decision); };
  for (std::uint64_t id = 0; id < 100; ++id) {
    frame.id = id, frame.timestamp_ns = static_cast<std::int64_t>(id);
    frame.score = static_cast<double>(id);
    stream.push(frame, tell);
  }
  CHECK(told.empty()); /* a better one always follows within the gap */
  stream.end(tell);
  CHECK(told.size() == 100);
  CHECK(stream.kept().size() == 1 && stream.kept()[0].id == 99);
  CHECK(stream.counters().pushed == 100 && stream.counters().ranked == 1);
  deal_decision best;
  CHECK(stream.best(best) && best.id == 99);
  stream.sent(99);
  CHECK(!stream.best(best));
  CHECK(has(thrown(DEAL_ERROR_INVALID_ARGUMENT, [&] { stream.sent(99); }), "99"));
  options.max_frames = 0;
  const auto refused = thrown(DEAL_ERROR_INVALID_ARGUMENT, [&] { deal::Stream none(options); });
  CHECK(has(refused, "max_frames"));
}

static void test_what_a_thrower_missed_is_told_afterwards() {
  auto options = deal::make<deal_stream_options>();
  options.max_frames = 1;
  deal::Stream stream(options);
  auto frame = deal::make<deal_stream_frame>();
  frame.id = 1;
  stream.push(frame, [](const deal_decision&) {});
  frame.id = 2, frame.score = 1.0;
  bool stopped = false;
  try {
    stream.push(frame, [](const deal_decision&) { throw 1; });
  } catch (int) {
    stopped = true;
  }
  CHECK(stopped && stream.kept().size() == 1);
  frame.id = 3;
  const auto push = [&] { stream.push(frame, [](const deal_decision&) {}); };
  CHECK(has(thrown(DEAL_ERROR_INVALID_ARGUMENT, push), "deal_stream_rest"));
  int left = 0;
  stream.rest([&](const deal_decision& decision) { left += decision.id == 2; });
  CHECK(left == 1);
  push();
}

static void test_a_stream_is_restored() {
  auto options = deal::make<deal_stream_options>();
  options.max_frames = 2;
  deal::Stream stream(options);
  auto frame = deal::make<deal_stream_frame>();
  frame.id = 7, frame.score = 0.5;
  deal_decision decision = {};
  decision.action = DEAL_KEEP, decision.why = DEAL_WHY_RANKED, decision.arrival = 41;
  stream.restore(frame, decision);
  frame.id = 8;
  stream.push(frame, [](const deal_decision& told) { CHECK(told.arrival == 42); });
  CHECK(stream.kept().size() == 2);
}

/* What a model file tells; from the root of the repository, as the Makefile runs this. */
static void test_a_model_is_read() {
  const deal::Model first("deal/demo/model.onnx");
  deal::Model moved("deal/demo/model.onnx");
  const deal::Model model(std::move(moved)); /* its pointers stay right */
  CHECK(first->classes == model->classes && model.class_names().size() == 9);
  CHECK(std::string(model.class_names()[0]) == "sky");
  CHECK(model->head != nullptr && model->head->channels == 9);
  CHECK(model->input_height == 240 && model->input_width == 320);
  int entries = 0;
  for (const deal_session_entry& entry : model.session_entries()) {
    entries += std::strcmp(entry.value, "WeightBiasQuantization") == 0;
  }
  CHECK(entries == 1);
  CHECK(has(thrown(DEAL_ERROR_INVALID_ARGUMENT, [] { deal::Model("none.onnx"); }), "none.onnx"));
}

static void test_images_are_resized_and_rows_picked() {
  const std::vector<std::uint8_t> grey(12 * 16 * 3, 77);
  const auto small = deal::resize(grey.data(), 12, 16, DEAL_BILINEAR_ANTIALIAS, 3, 5);
  CHECK(small == std::vector<std::uint8_t>(45, 77));
  const auto wrong = [&] { deal::resize(grey.data(), 12, 16, DEAL_NEAREST, 0, 5); };
  CHECK(has(thrown(DEAL_ERROR_INVALID_ARGUMENT, wrong), "side"));
  const float points[] = {0.0f, 1.0f, 2.0f, 9.0f};
  auto options = deal::make<deal_k_center_options>();
  options.features = points, options.rows = 4, options.width = 1, options.threads = 1;
  options.metric = DEAL_EUCLIDEAN;
  CHECK((deal::k_center(options, 2) == std::vector<std::int64_t>{2, 3}));
  CHECK(has(thrown(DEAL_ERROR_INVALID_ARGUMENT, [&] { deal::k_center(options, 5); }), "only 4"));
}

int main() {
  test_logits_become_scores();
  test_a_signature_is_an_array();
  test_a_stream_tells_every_decision();
  test_what_a_thrower_missed_is_told_afterwards();
  test_a_stream_is_restored();
  test_a_model_is_read();
  test_images_are_resized_and_rows_picked();
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
