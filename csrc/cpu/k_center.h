// Greedy k-center (core-set): each pick is the row farthest from its nearest center.
//
// Exact, but lazy (Minoux 1978): the distance of a row to its nearest center only falls as centers
// are added, so a distance among fewer centers bounds it from above, and a row whose bound is below
// the best known distance is not looked at. Which rows are looked at depends on the threads; the
// picks and their distances do not.
//
// Distances are those of the rows times a factor: one over the norm for the cosine (whose 1 - cos
// is half the squared distance of unit vectors), one power of two for all rows otherwise. A row
// whose norm is zero has no direction: it stands on an axis of its own, at 1 from every other.
#pragma once

#include <stdint.h>

#include <atomic>
#include <functional>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/memory.h"
#include "cpu/thread_pool.h"

namespace deal {

enum class Metric { kCosine, kEuclidean };

class KCenter {
 public:
  // Called now and then by the thread that called KCenter; true ends the work. Must not throw.
  using Interrupted = std::function<bool()>;

  // features [rows, width] have to outlive this; candidates [rows] are not zero where a row may be
  // picked; at most 2^26 rows.
  KCenter(const float* features, int64_t rows, int64_t width, const uint8_t* candidates,
          Metric metric, int threads, const Kernels& kernels, Interrupted interrupted);

  // Measures candidates and centers [count], which are none of them, and adds the centers; room for
  // `picks` more is made. Returns rows of them with NaN or infinite values, the lowest first: with
  // any, nothing else may be called.
  std::vector<int64_t> prepare(const int64_t* centers, int64_t count, int64_t picks);
  // The candidate nearest the mean of the candidates, the lowest of equals.
  int64_t central();
  // The candidate farthest from its nearest center, the lowest of equals; all candidates are
  // equally far when there is no center. At least one must be left.
  int64_t farthest();
  // Makes a candidate a center; returns its distance, in the unit of the metric, to its nearest
  // center until then: infinite if there was none.
  double take(int64_t row);
  // Picks count rows after prepare() with `given` centers: first, or if it is negative the central
  // row where there are no centers, then the farthest. distances may be NULL.
  void pick(int64_t given, int64_t count, int64_t first, int64_t* picks, double* distances);
  // The work ended early: nothing that was returned since counts.
  bool stopped() const { return stop_; }

 private:
  template <class Fn>
  void over_rows(Fn&& fn);
  float measure(int64_t row);
  void add(int64_t row);
  float refresh(int64_t row, float enough);

  const float* row(int64_t r) const { return features_ + r * width_; }

  const float* const features_;
  const int64_t rows_, width_, stride_;
  const Metric metric_;
  const Kernels& kernels_;
  const Interrupted interrupted_;
  ThreadPool pool_;
  std::atomic<bool> stop_{false};
  std::vector<float> scale_;   // [rows] the factor; 0: no direction; NaN: not finite
  std::vector<float> bound_;   // [rows] at least the squared distance; negative: no candidate
  std::vector<int32_t> seen_;  // [rows] how many of centers_ the bound knows
  Block64 memory_;
  float* centers_ = nullptr;  // [count_, stride_] rows times their factors, padded with zeros
  int32_t count_ = 0;
  bool undirected_ = false;  // there is a center without direction, which is not in centers_
  float unit_ = 1.0f;        // the factor of all rows for the Euclidean distance
};

}  // namespace deal
