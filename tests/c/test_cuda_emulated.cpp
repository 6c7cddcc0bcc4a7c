// The CUDA kernels, run thread for thread by emulated/cuda_runtime.h, against the CPU: every output
// of deal_output has to be the same bits. Speed, and what only a GPU does, is not tested here.
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <random>
#include <string>
#include <vector>

#include "abi/deal.h"
#include "cuda_runtime.h"

extern "C" cudaError_t cudaLaunchHostFunc(cudaStream_t, void (*)(void*), void*);

namespace {

int passed = 0, failed = 0;

#define CHECK(condition, text)                                                  \
  do {                                                                          \
    if (condition) {                                                            \
      ++passed;                                                                 \
    } else {                                                                    \
      ++failed;                                                                 \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, text); \
    }                                                                           \
  } while (0)

enum Regions { kNone, kGrid, kSegments, kSharedSegments };

struct Case {
  const char* name;
  int64_t b, c, h, w, H, W, gh, gw;  // gh 0: the logits' own grid
  int32_t dtype = DEAL_FLOAT32;
  int32_t sampling = DEAL_ALIGN_CORNERS;
  bool given = false;  // the difficulty is given: no head
  int mask = 0;        // 1: one of each image, 2: shared
  Regions regions = kNone;
  int32_t attention = DEAL_ATTENTION_AUTO;
  bool channels_last = false, nonfinite = false, extreme = false;
  int64_t cell = 7;
  int64_t members = 1;
  bool uncertainty = false;
};

// Inputs and outputs of a case, by name and in bytes.
struct Run {
  const Case& k;
  std::mt19937 random{7};
  std::vector<char> logits;
  std::vector<float> difficulty, weight, uncertainty_weight;
  std::vector<uint8_t> mask;
  std::vector<int32_t> map;
  std::vector<std::pair<std::string, std::vector<char>>> outputs;

  explicit Run(const Case& c) : k(c) {
    std::normal_distribution<float> normal(0.0f, 3.0f);
    const size_t size = k.dtype == DEAL_FLOAT32 ? 4 : 2;
    const int64_t n = k.members * k.b * k.c * k.h * k.w;
    logits.resize(n * size);
    for (int64_t i = 0; i < n; ++i) {
      float value = i == n / 2 && k.nonfinite ? NAN : normal(random);
      if (k.extreme && i % 7 < 2) value = i % 7 == 0 ? FLT_MAX : -FLT_MAX;
      if (k.dtype == DEAL_FLOAT32) {
        memcpy(&logits[i * 4], &value, 4);
      } else {
        uint32_t bits;
        memcpy(&bits, &value, 4);
        uint16_t half = bits >> 16;  // bfloat16; for float16 any bits that are finite will do
        if (k.dtype == DEAL_FLOAT16) half = static_cast<uint16_t>(random() & 0xc7ff);
        memcpy(&logits[i * 2], &half, 2);
      }
    }
    difficulty.resize(k.b * grid_cells());
    for (float& d : difficulty) d = normal(random);
    weight.resize(k.c);
    for (float& value : weight) value = normal(random);
    uncertainty_weight.resize(k.c);
    for (float& value : uncertainty_weight) value = normal(random);
    mask.resize(k.b * k.H * k.W);
    for (uint8_t& m : mask) m = random() % 10 < 7;
    map.resize(k.b * k.H * k.W);
    for (int32_t& id : map) id = static_cast<int32_t>(random() % 10) - 1;
  }
  int64_t grid_height() const { return k.gh > 0 ? k.gh : k.h; }
  int64_t grid_width() const { return k.gw > 0 ? k.gw : k.w; }
  int64_t grid_cells() const { return grid_height() * grid_width(); }

  template <class T>
  T* output(const char* name, int64_t n) {
    outputs.emplace_back(name, std::vector<char>(n * sizeof(T), 0x5a));
    return reinterpret_cast<T*>(outputs.back().second.data());
  }

  deal_status score(int32_t device, bool maps) {
    deal_tensor z = {sizeof z, logits.data(), k.dtype, device, k.members, k.b, k.c,
                     k.h,      k.w,           {},      0,      0.0f,      0};
    const int64_t member = k.b * k.c * k.h * k.w;
    const int64_t plain[5] = {member, k.c * k.h * k.w, k.h * k.w, k.w, 1};
    const int64_t last[5] = {member, k.c * k.h * k.w, 1, k.w * k.c, k.c};
    memcpy(z.stride, k.channels_last ? last : plain, sizeof plain);
    deal_tensor d = {sizeof d,
                     difficulty.data(),
                     DEAL_FLOAT32,
                     device,
                     1,
                     k.b,
                     1,
                     grid_height(),
                     grid_width(),
                     {0, grid_cells(), 0, grid_width(), 1},
                     0,
                     0.0f,
                     0};
    const float* const u = k.uncertainty ? uncertainty_weight.data() : nullptr;
    deal_head head = {sizeof head, weight.data(), k.c, 0.8f, -0.4f, k.gh, k.gw, k.attention, u};
    deal_regions regions = {sizeof regions, DEAL_REGIONS_GRID, k.cell, nullptr, 0, 0};
    if (k.regions >= kSegments) {
      regions = {sizeof regions, DEAL_REGIONS_SEGMENTS,        0,
                 map.data(),     k.regions == kSharedSegments, 12};
    }
    deal_input input = {};
    input.struct_size = sizeof input;
    input.logits = &z;
    input.raster_height = k.H;
    input.raster_width = k.W;
    input.sampling = k.sampling;
    input.head = &head;
    input.difficulty = k.given ? &d : nullptr;
    input.regions = k.regions == kNone ? nullptr : &regions;
    input.mask = k.mask > 0 ? mask.data() : nullptr;
    input.mask_shared = k.mask == 2;

    deal_sizes s = {};
    s.struct_size = sizeof s;
    deal_output_sizes(&input, &s);
    deal_output o = {};
    o.struct_size = sizeof o;
    outputs.clear();
    const int64_t b = s.batch, image_row = b, image_levels = b * DEAL_HISTOGRAM_LEVELS,
                  image_classes = b * s.classes, region_row = b * s.regions;
    const bool committee = k.members > 1;
#define DEAL_COLUMN(table, name, type, shape, part)                              \
  if (committee || strcmp(#part, "committee") != 0) {                            \
    o.DEAL_FIELD(table, name) = output<type>(#table " " #name, table##_##shape); \
  }
#include "abi/columns.def"
#define OUT(name, type, n) o.name = output<type>(#name, n)
    OUT(nonfinite, int64_t, b);
    if (maps) {
      OUT(difficulty_grid, float, b* grid_cells());
      OUT(difficulty_map, float, b* k.H* k.W);
      OUT(class_map, uint8_t, b* k.H* k.W);
    }
#undef OUT
    deal_context_options options = {};
    options.struct_size = sizeof options;
    options.device = device;
    options.threads = 2;
    deal_context* context = nullptr;
    deal_status status = deal_context_create(&options, &context);
    if (status == DEAL_OK) status = deal_reserve(context, &input);
    if (status == DEAL_OK) status = deal_enqueue(context, &input, &o, nullptr);
    if (status == DEAL_OK) status = deal_finish(context);
    deal_context_destroy(context);
    return status;
  }
};

void test_bits_equal_the_cpu(const Case& k, bool maps) {
  Run cpu(k), cuda(k);
  CHECK(cpu.score(DEAL_CPU, maps) == DEAL_OK, deal_last_error());
  CHECK(cuda.score(DEAL_CUDA, maps) == DEAL_OK, deal_last_error());
  for (size_t i = 0; i < cpu.outputs.size(); ++i) {
    CHECK(cpu.outputs[i].second == cuda.outputs[i].second,
          (std::string(k.name) + ", " + cpu.outputs[i].first).c_str());
  }
}

Case with(Case base, void (*change)(Case&)) {
  change(base);
  return base;
}

// Anything that a request can be, small; the same for the same seed.
Case random_case(unsigned seed, const char* name) {
  std::mt19937 random(seed);
  const auto upto = [&](int64_t n) { return 1 + static_cast<int64_t>(random() % n); };
  const auto maybe = [&] { return random() % 3 == 0; };
  const int64_t classes[] = {upto(8), 8 + upto(24), 32 + upto(32), upto(256)};
  Case k = {name,     upto(3),  classes[random() % 4], upto(9), upto(11),
            upto(45), upto(70), maybe() ? upto(6) : 0, 0};
  k.gw = k.gh > 0 ? upto(7) : 0;
  k.dtype = static_cast<int32_t>(random() % 3);
  k.sampling = maybe() ? DEAL_HALF_PIXEL : DEAL_ALIGN_CORNERS;
  k.given = maybe();
  k.mask = static_cast<int>(random() % 3);
  k.regions = static_cast<Regions>(random() % 4);
  if (!k.given && maybe()) k.attention = DEAL_ATTENTION_DIRECT;
  if (!k.given && k.c <= 12 && maybe()) k.attention = DEAL_ATTENTION_POLYNOMIAL;
  k.channels_last = maybe();
  k.nonfinite = random() % 6 == 0;
  k.extreme = random() % 6 == 0;
  k.cell = upto(40);
  if (maybe()) k.members = upto(k.c > 64 ? 3 : 6);
  k.uncertainty = maybe();
  return k;
}

void test_random_requests(int count) {
  for (int seed = 0; seed < count; ++seed) {
    const std::string name = "random request " + std::to_string(seed);
    test_bits_equal_the_cpu(random_case(static_cast<unsigned>(seed), name.c_str()), seed % 2 == 0);
  }
}

void test_segment_ids_beyond_the_count_are_told() {
  const Case k = with({"", 2, 3, 4, 5, 20, 30, 0, 0}, [](Case& c) { c.regions = kSegments; });
  Run run(k);
  run.map[777] = 12;
  CHECK(run.score(DEAL_CUDA, false) == DEAL_ERROR_INVALID_ARGUMENT, "");
  CHECK(strstr(deal_last_error(), "the id 12, but only 12 regions") != nullptr, deal_last_error());
}

void test_order_of_calls() {
  float data[2 * 4] = {1, 2, 3, 4, 5, 6, 7, 8};
  deal_tensor z = {sizeof z, data, DEAL_FLOAT32,    DEAL_CUDA, 1,    1, 2,
                   2,        2,    {0, 8, 4, 2, 1}, 0,         0.0f, 0};
  deal_input input = {};
  input.struct_size = sizeof input;
  input.logits = &z;
  input.raster_height = input.raster_width = 2;
  double entropy = -1.0;
  deal_output output = {};
  output.struct_size = sizeof output;
  output.entropy_mean = &entropy;
  deal_context_options options = {};
  options.struct_size = sizeof options;
  options.device = DEAL_CUDA;
  deal_context* context = nullptr;
  CHECK(deal_context_create(&options, &context) == DEAL_OK, deal_last_error());
  CHECK(deal_finish(context) == DEAL_OK, "nothing to finish");
  cudaStream_t stream;
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess, "");
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess, "");
  CHECK(deal_enqueue(context, &input, &output, stream) == DEAL_ERROR_INVALID_ARGUMENT, "");
  CHECK(strstr(deal_last_error(), "score this request once") != nullptr, deal_last_error());
  cudaGraph_t graph;
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaSuccess, "");
  cudaGraphDestroy(graph);
  CHECK(deal_reserve(context, &input) == DEAL_OK, deal_last_error());
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess, "");
  CHECK(deal_enqueue(context, &input, &output, stream) == DEAL_OK, deal_last_error());
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaSuccess, "");
  CHECK(entropy == -1.0, "tables are written by deal_finish");
  CHECK(deal_enqueue(context, &input, &output, stream) == DEAL_ERROR_INVALID_ARGUMENT, "");
  CHECK(strstr(deal_last_error(), "deal_finish") != nullptr, deal_last_error());
  cudaGraphExec_t executable;
  CHECK(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess, "");
  cudaGraphDestroy(graph);
  double before = -1.0;
  for (const float changed : {8.0f, 9.0f}) {
    data[7] = changed;
    entropy = -1.0;
    CHECK(cudaGraphLaunch(executable, stream) == cudaSuccess, "");
    CHECK(deal_finish(context) == DEAL_OK, deal_last_error());
    CHECK(entropy > 0.0 && entropy != before, "each replay reads the logits as they are then");
    before = entropy;
  }
  deal_context_counters counters;
  DEAL_INIT(counters);
  CHECK(deal_context_count(context, &counters) == DEAL_OK, deal_last_error());
  CHECK(counters.frames == 2 && counters.nonfinite_frames == 0, "one per replay");
  CHECK(counters.device_bytes > 0 && counters.host_bytes > 0, "memory of both");
  z.dtype = DEAL_INT8, z.scale = 1.0f;
  CHECK(deal_enqueue(context, &input, &output, nullptr) == DEAL_ERROR_UNSUPPORTED, "");
  CHECK(strstr(deal_last_error(), "on the CPU alone") != nullptr, deal_last_error());
  z.dtype = DEAL_FLOAT32;
  cudaGraphExecDestroy(executable);
  cudaStreamDestroy(stream);
  z.device = DEAL_CPU;
  CHECK(deal_enqueue(context, &input, &output, nullptr) == DEAL_ERROR_INVALID_ARGUMENT, "");
  CHECK(strstr(deal_last_error(), "computes on a CUDA device") != nullptr, deal_last_error());
  deal_context_destroy(context);
  options.device_index = 1;
  CHECK(deal_context_create(&options, &context) == DEAL_ERROR_DEVICE, "");
}

struct Called {
  void* other = nullptr;
  int value = 0, seen = -1;
};

// As where Python collects garbage while it stands in for a network.
void test_work_that_frees_memory_is_not_overtaken() {
  Called called;
  cudaStream_t stream;
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess, "");
  CHECK(cudaMalloc(&called.other, 1) == cudaSuccess, "");
  const auto first = [](void* data) {
    auto* const found = static_cast<Called*>(data);
    CHECK(cudaFree(found->other) == cudaSuccess, "");
    found->value = 1;
  };
  const auto second = [](void* data) {
    auto* const found = static_cast<Called*>(data);
    found->seen = found->value;
  };
  CHECK(cudaLaunchHostFunc(stream, first, &called) == cudaSuccess, "");
  CHECK(cudaLaunchHostFunc(stream, second, &called) == cudaSuccess, "");
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess, "");
  CHECK(called.seen == 1, "the second function began within the first");
  cudaStreamDestroy(stream);
}

}  // namespace

// Argument: how many random requests to try.
int main(int argc, char** argv) {
  const Case street = {"street", 2, 11, 20, 27, 53, 71, 10, 13};
  const Case cases[] = {
      street,
      with(street,
           [](Case& c) { c.name = "bfloat16 grid", c.dtype = DEAL_BFLOAT16, c.regions = kGrid; }),
      with(street, [](Case& c) { c.name = "float16 mask", c.dtype = DEAL_FLOAT16, c.mask = 1; }),
      with(street,
           [](Case& c) { c.name = "half pixel", c.sampling = DEAL_HALF_PIXEL, c.given = true; }),
      with(street, [](Case& c) { c.name = "segments", c.regions = kSegments, c.mask = 2; }),
      with(street, [](Case& c) { c.name = "shared segments", c.regions = kSharedSegments; }),
      with(street, [](Case& c) { c.name = "channels last", c.channels_last = true; }),
      with(street,
           [](Case& c) { c.name = "nonfinite", c.nonfinite = true, c.regions = kSegments; }),
      with(street, [](Case& c) { c.name = "direct", c.attention = DEAL_ATTENTION_DIRECT; }),
      with(street, [](Case& c) { c.name = "polynomial", c.attention = DEAL_ATTENTION_POLYNOMIAL; }),
      with(street, [](Case& c) { c.name = "uncertainty", c.uncertainty = true; }),
      with({"most classes, uncertainty", 1, 256, 3, 5, 7, 11, 4, 4},
           [](Case& c) { c.uncertainty = true, c.dtype = DEAL_BFLOAT16; }),
      with(street, [](Case& c) { c.name = "one-pixel cells", c.regions = kGrid, c.cell = 1; }),
      with(street, [](Case& c) { c.name = "extreme", c.extreme = true; }),
      with(street, [](Case& c) { c.name = "committee", c.members = 3, c.regions = kGrid; }),
      with(street,
           [](Case& c) {
             c.name = "committee, segments, mask", c.members = 2, c.dtype = DEAL_BFLOAT16;
             c.regions = kSegments, c.mask = 1, c.channels_last = true;
           }),
      with({"largest committee", 1, 40, 3, 4, 9, 14, 0, 0}, [](Case& c) { c.members = 64; }),
      with(street,
           [](Case& c) { c.name = "committee, nonfinite", c.members = 2, c.nonfinite = true; }),
      {"boundaries by words", 2, 5, 9, 9, 35, 72, 3, 3},
      {"one word", 1, 3, 4, 5, 18, 4, 2, 2},
      with({"words, nonfinite", 2, 3, 4, 5, 8, 8, 2, 2}, [](Case& c) { c.nonfinite = true; }),
      {"twenty-four classes", 1, 24, 6, 7, 40, 41, 0, 0},
      {"twenty-eight classes", 1, 27, 6, 7, 40, 41, 0, 0},
      {"thirty classes", 1, 30, 6, 7, 20, 21, 0, 0},
      {"cityscapes classes", 1, 19, 20, 24, 65, 70, 0, 0},
      {"chunks", 1, 4, 30, 40, 60, 70, 0, 0},
      {"many classes", 1, 150, 5, 6, 33, 31, 4, 5},
      with({"most classes", 1, 256, 3, 5, 7, 11, 4, 4}, [](Case& c) { c.regions = kGrid; }),
      {"one class", 1, 1, 3, 4, 9, 9, 0, 0},
      {"one pixel", 3, 3, 1, 1, 1, 1, 0, 0},
      {"one row", 2, 6, 1, 40, 1, 97, 0, 0},
      {"one column", 2, 6, 40, 1, 97, 1, 0, 0},
      {"smaller raster", 1, 7, 33, 29, 20, 17, 5, 5},
  };
  for (const Case& k : cases) test_bits_equal_the_cpu(k, true);
  test_bits_equal_the_cpu(street, false);
  test_random_requests(argc > 1 ? atoi(argv[1]) : 25);
  test_segment_ids_beyond_the_count_are_told();
  test_order_of_calls();
  test_work_that_frees_memory_is_not_overtaken();
  printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
