#include "stream/options.h"

#include <math.h>

#include <algorithm>

#include "abi/failure.h"
#include "abi/validate.h"
#include "stream/stream.h"

namespace deal {
namespace {

constexpr int64_t kMostTime = int64_t{1} << 60;
constexpr int64_t kMostFrames = 1000000;
// A look-ahead of more gaps would change next to nothing.
constexpr int64_t kMostGaps = 64;

void in_range(int64_t value, int64_t least, int64_t most, const char* name) {
  if (value >= least && value <= most) return;
  fail(DEAL_ERROR_INVALID_ARGUMENT, "deal_stream_options: %s is %lld; give %lld to %lld", name,
       ll(value), ll(least), ll(most));
}

// A share of a limit, rounded to the nearest; exact for limits below 2^52.
int64_t share_of(int64_t limit, double share) {
  return static_cast<int64_t>(floor(static_cast<double>(limit) * share + 0.5));
}

}  // namespace

StreamPlan plan_stream(const deal_stream_options* options) {
  StreamPlan p = {};
  deal_stream_options& o = p.options;
  o = read_struct(options, "deal_stream_options");
  in_range(o.max_frames, 1, kMostFrames, "max_frames");
  in_range(o.max_bytes, 0, int64_t{1} << 52, "max_bytes");
  in_range(o.window_ns, 0, kMostTime, "window_ns");
  in_range(o.max_frames_per_window, 0, INT64_MAX, "max_frames_per_window");
  in_range(o.max_bytes_per_window, 0, INT64_MAX, "max_bytes_per_window");
  in_range(o.min_gap_ns, 0, kMostTime / (2 * kMostGaps), "min_gap_ns");
  in_range(o.look_ahead_ns, 0, kMostTime, "look_ahead_ns");
  in_range(o.context_before_ns, 0, kMostTime, "context_before_ns");
  in_range(o.context_after_ns, 0, kMostTime, "context_after_ns");
  in_range(o.max_context_frames, 0, 8 * kMostFrames, "max_context_frames");
  in_range(o.near, DEAL_NEAR_NONE, DEAL_NEAR_ALL, "near");
  in_range(o.pending, 0, kMostFrames, "pending");
  in_range(o.groups, 0, kMostFrames, "groups");
  in_range(o.draw, DEAL_DRAW_NONE, DEAL_DRAW_POWER, "draw");
  if (!(o.near_threshold >= 0.0 && o.near_threshold <= 255.0)) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "deal_stream_options: near_threshold is 0 to 255 grey levels");
  }
  if (o.beta == 0.0) o.beta = 1.0;
  if (!(o.beta > 0.0 && o.beta <= 1e6)) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "deal_stream_options: beta has to be above 0, up to 1e6");
  }
  if (!(o.random_share >= 0.0 && o.random_share <= 1.0)) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "deal_stream_options: random_share is 0 to 1");
  }
  p.windows = o.window_ns > 0;
  if (!p.windows && (o.max_frames_per_window > 0 || o.max_bytes_per_window > 0)) {
    fail(DEAL_ERROR_INVALID_ARGUMENT,
         "deal_stream_options: limits per window need window_ns above 0");
  }
  if (o.max_frames_per_window == 0) o.max_frames_per_window = INT64_MAX;
  if (o.max_bytes_per_window == 0) o.max_bytes_per_window = INT64_MAX;
  if (o.pending == 0) o.pending = 1024;
  if (o.groups == 0) o.groups = 64;
  p.context = o.context_before_ns > 0 || o.context_after_ns > 0;
  if (!p.context) o.max_context_frames = 0;
  if (p.context && o.max_context_frames == 0) o.max_context_frames = 8 * o.max_frames;
  p.timed = o.min_gap_ns > 0 || p.context;
  p.near = o.near != DEAL_NEAR_NONE;
  p.mature = std::max(o.min_gap_ns, o.context_after_ns);
  p.look_ahead = std::max(p.mature, o.look_ahead_ns > 0 ? o.look_ahead_ns : 4 * o.min_gap_ns);
  p.taken = o.min_gap_ns > 0 ? std::min(p.look_ahead / o.min_gap_ns, kMostGaps) + 2 : 0;
  p.random_frames = share_of(o.max_frames, o.random_share);
  p.ranked_frames = o.max_frames - p.random_frames;
  if (o.max_bytes == 0) {
    p.ranked_bytes = p.random_bytes = INT64_MAX;
  } else {
    p.random_bytes = share_of(o.max_bytes, o.random_share);
    p.ranked_bytes = o.max_bytes - p.random_bytes;
  }
  // One more: a new frame comes in before the one that gives way goes.
  p.slots = o.max_frames + o.max_context_frames + (p.timed ? o.pending : 0) + 1;
  p.table = 1;
  if (p.windows) {
    while (p.table < 2 * (p.ranked_frames + 2)) p.table *= 2;
  }
  p.size = StreamArrays().divide(p, 0);
  return p;
}

}  // namespace deal
