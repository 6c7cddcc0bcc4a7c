// The C ABI of choices among vectors.
#include <algorithm>
#include <vector>

#include "abi/deal_select.h"
#include "abi/guard.h"
#include "abi/validate.h"
#include "cpu/k_center.h"

namespace deal {
namespace {

void check_k_center(const deal_k_center_options& o, int64_t count, const int64_t* picks) {
  const auto refuse = [](const char* why) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "deal_k_center_options: %s", why);
  };
  if (picks == nullptr || count < 1) refuse("picks is NULL, or no row is to be picked");
  if (o.features == nullptr || reinterpret_cast<uintptr_t>(o.features) % sizeof(float) != 0) {
    refuse("features is NULL, or not aligned to floats");
  }
  constexpr int64_t kMostRows = int64_t{1} << 26;
  if (o.rows < 1 || o.rows > kMostRows || o.width < 1 || o.width > INT32_MAX / 16) {
    refuse("1 to 2^26 rows of 1 to 2^27 numbers are possible");
  }
  if (o.metric != DEAL_COSINE && o.metric != DEAL_EUCLIDEAN) refuse("metric is no deal_metric");
  if (o.threads < 0 || o.threads > 1024) refuse("threads is not 0 (every core) to 1024");
  if (o.center_count < 0 || o.center_count > o.rows ||
      (o.center_count > 0 && o.centers == nullptr)) {
    refuse("centers is NULL, or there are more centers than rows");
  }
  for (int64_t i = 0; i < o.center_count; ++i) {
    if (o.centers[i] < 0 || o.centers[i] >= o.rows) refuse("a center is no row");
  }
}

// Rows that may be picked: those of the caller without the centers.
std::vector<uint8_t> open_rows(const deal_k_center_options& o, int64_t count) {
  std::vector<uint8_t> open(static_cast<size_t>(o.rows), 1);
  if (o.candidates != nullptr) {
    std::transform(o.candidates, o.candidates + o.rows, open.begin(),
                   [](uint8_t value) { return value != 0; });
  }
  for (int64_t i = 0; i < o.center_count; ++i) open[static_cast<size_t>(o.centers[i])] = 0;
  const int64_t left = std::count(open.begin(), open.end(), 1);
  if (left < count) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "%lld rows are to be picked, but only %lld may be; ask for "
         "fewer",
         ll(count), ll(left));
  }
  if (o.has_first != 0 &&
      (o.first < 0 || o.first >= o.rows || open[static_cast<size_t>(o.first)] == 0)) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "first is %lld, which is no candidate", ll(o.first));
  }
  return open;
}

// Each center once: a row that is named twice changes no distance.
std::vector<int64_t> distinct(const int64_t* centers, int64_t count) {
  std::vector<int64_t> found(centers, centers + count);
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace
}  // namespace deal

extern "C" {

DEAL_API deal_status deal_k_center(const deal_k_center_options* options, int64_t count,
                                   int64_t* picks, double* distances) {
  return deal::guarded([&] {
    const deal_k_center_options o = deal::read_struct(options, "deal_k_center_options");
    deal::check_k_center(o, count, picks);
    const std::vector<uint8_t> open = deal::open_rows(o, count);
    const std::vector<int64_t> centers = deal::distinct(o.centers, o.center_count);
    const int threads = o.threads == 0 ? deal::available_cores() : o.threads;
    const auto metric = o.metric == DEAL_COSINE ? deal::Metric::kCosine : deal::Metric::kEuclidean;
    deal::KCenter greedy(o.features, o.rows, o.width, open.data(), metric, threads,
                         deal::choose_kernels(o.isa), [] { return false; });
    const int64_t given = static_cast<int64_t>(centers.size());
    const std::vector<int64_t> bad = greedy.prepare(centers.data(), given, count);
    if (!bad.empty()) {
      deal::fail(DEAL_ERROR_INVALID_ARGUMENT,
                 "features have NaN or infinite values in row %lld: leave such rows out of "
                 "candidates and centers",
                 deal::ll(bad[0]));
    }
    greedy.pick(given, count, o.has_first != 0 ? o.first : -1, picks, distances);
  });
}

}  // extern "C"
