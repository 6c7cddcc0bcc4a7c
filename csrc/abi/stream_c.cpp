// The C ABI of streams: checks, and hands on.
#include <string.h>

#include <algorithm>
#include <new>

#include "abi/deal_stream.h"
#include "abi/guard.h"
#include "abi/validate.h"
#include "stream/stream.h"

struct deal_stream {
  deal::Stream stream;
};

namespace deal {
namespace {

constexpr int64_t kMostTime = int64_t{1} << 61;
// So that no sum of all frames overflows.
constexpr int64_t kMostBytes = int64_t{1} << 39;

deal_stream_frame checked(const deal_stream_frame* given) {
  const deal_stream_frame frame = read_struct(given, "deal_stream_frame");
  if (frame.timestamp_ns < -kMostTime || frame.timestamp_ns > kMostTime) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "deal_stream_frame: timestamp_ns is %lld, beyond 2^61",
         ll(frame.timestamp_ns));
  }
  if (frame.bytes < 0 || frame.bytes > kMostBytes) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "deal_stream_frame: bytes is %lld; 0 to 2^39 are possible",
         ll(frame.bytes));
  }
  return frame;
}

void check_room(const void* stream, const deal_decision* decisions, int64_t room,
                const int64_t* count) {
  if (stream == nullptr) fail(DEAL_ERROR_INVALID_ARGUMENT, "stream is NULL");
  if (count == nullptr || room < 0 || (room > 0 && decisions == nullptr)) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "count is NULL, or there is no room for decisions");
  }
}

void check_told(const deal_stream& stream) {
  if (!stream.stream.has_more()) return;
  fail(DEAL_ERROR_INVALID_ARGUMENT,
       "earlier decisions were not taken: call deal_stream_rest until its count is 0");
}

}  // namespace
}  // namespace deal

extern "C" {

DEAL_API uint64_t deal_name_hash(const char* id, size_t length) {
  return deal::name_hash(id, length);
}

DEAL_API const char* deal_why_name(int32_t why) {
  static const char* const names[] = {
      "unknown",      "ranked",         "random",     "context", "gap",
      "look-ahead",   "near",           "frames",     "bytes",   "window-frames",
      "window-bytes", "context-frames", "not-finite", "negative"};
  const int32_t count = sizeof names / sizeof *names;
  return names[why > 0 && why < count ? why : 0];
}

DEAL_API deal_status deal_stream_size(const deal_stream_options* options, int64_t* size) {
  return deal::guarded([&] {
    if (size == nullptr) deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "size is NULL");
    *size = deal::plan_stream(options).size;
  });
}

DEAL_API deal_status deal_stream_init(const deal_stream_options* options, void* memory,
                                      int64_t size, deal_stream** out) {
  return deal::guarded([&] {
    if (out == nullptr) deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "out is NULL");
    *out = nullptr;
    const deal::StreamPlan plan = deal::plan_stream(options);
    if (memory == nullptr || reinterpret_cast<uintptr_t>(memory) % 16 != 0) {
      deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "memory is NULL or not aligned to 16 bytes");
    }
    if (size < plan.size) {
      deal::fail(DEAL_ERROR_INVALID_ARGUMENT,
                 "a stream of these options takes %lld bytes, not %lld", deal::ll(plan.size),
                 deal::ll(size));
    }
    *out = reinterpret_cast<deal_stream*>(new (memory) deal::Stream(plan));
  });
}

DEAL_API deal_status deal_stream_push(deal_stream* stream, const deal_stream_frame* frame,
                                      deal_decision* decisions, int64_t room, int64_t* count) {
  return deal::guarded([&] {
    deal::check_room(stream, decisions, room, count);
    deal::check_told(*stream);
    const deal_stream_frame f = deal::checked(frame);
    stream->stream.push(f);
    *count = stream->stream.take(decisions, room);
  });
}

DEAL_API deal_status deal_stream_end(deal_stream* stream, deal_decision* decisions, int64_t room,
                                     int64_t* count) {
  return deal::guarded([&] {
    deal::check_room(stream, decisions, room, count);
    deal::check_told(*stream);
    stream->stream.end();
    *count = stream->stream.take(decisions, room);
  });
}

DEAL_API deal_status deal_stream_rest(deal_stream* stream, deal_decision* decisions, int64_t room,
                                      int64_t* count) {
  return deal::guarded([&] {
    deal::check_room(stream, decisions, room, count);
    *count = stream->stream.take(decisions, room);
  });
}

DEAL_API deal_status deal_stream_kept(const deal_stream* stream, deal_decision* decisions,
                                      int64_t room, int64_t* count) {
  return deal::guarded([&] {
    deal::check_room(stream, decisions, room, count);
    *count = stream->stream.kept(decisions, room);
  });
}

DEAL_API deal_status deal_stream_count(const deal_stream* stream, deal_stream_counters* counters) {
  return deal::guarded([&] {
    if (stream == nullptr) deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "stream is NULL");
    deal_stream_counters found = deal::read_struct(counters, "deal_stream_counters");
    const size_t size = found.struct_size;
    stream->stream.count(&found);
    found.struct_size = size;
    memcpy(counters, &found, std::min(size, sizeof found));
  });
}

DEAL_API deal_status deal_stream_best(const deal_stream* stream, deal_decision* best,
                                      int32_t* found) {
  return deal::guarded([&] {
    if (stream == nullptr || best == nullptr || found == nullptr) {
      deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "stream, best or found is NULL");
    }
    *found = stream->stream.best(best) ? 1 : 0;
  });
}

DEAL_API deal_status deal_stream_sent(deal_stream* stream, uint64_t id) {
  return deal::guarded([&] {
    if (stream == nullptr) deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "stream is NULL");
    if (!stream->stream.sent(id)) {
      deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "no unsent pick has the id %llu",
                 static_cast<unsigned long long>(id));
    }
  });
}

DEAL_API deal_status deal_stream_restore(deal_stream* stream, const deal_stream_frame* frame,
                                         const deal_decision* decision) {
  return deal::guarded([&] {
    if (stream == nullptr || decision == nullptr) {
      deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "stream or decision is NULL");
    }
    const deal_stream_frame f = deal::checked(frame);
    const char* fault = stream->stream.restore_fault(f, *decision);
    if (fault != nullptr) deal::fail(DEAL_ERROR_INVALID_ARGUMENT, "restore: %s", fault);
    stream->stream.restore(f, *decision);
  });
}

}  // extern "C"
