// The options of a stream, checked and with defaults, and the memory that they ask for.
#pragma once

#include <stdint.h>

#include "abi/deal_stream.h"

namespace deal {

struct StreamPlan {
  deal_stream_options options;
  int64_t ranked_frames, ranked_bytes;  // limits; bytes INT64_MAX without one
  int64_t random_frames, random_bytes;
  int64_t mature;      // a frame is decided this long after its time at the earliest
  int64_t look_ahead;  // and at the latest
  int64_t slots;       // frames known at a time
  int64_t taken;       // times of taken frames that are remembered per group
  int64_t table;       // entries of the table of windows, a power of 2
  int64_t size;        // bytes in all
  bool timed, context, windows, near;
};

// Refuses options that do not fit.
StreamPlan plan_stream(const deal_stream_options* options);

}  // namespace deal
