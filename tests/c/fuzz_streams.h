/* Cases of deal_stream_*, called wrongly: odd options, a journal that lies, calls out of order.
 * What right calls give is held by fuzz_stream. */
#ifndef DEAL_TESTS_FUZZ_STREAMS_H
#define DEAL_TESTS_FUZZ_STREAMS_H

#include "deal_stream.h"
#include "fuzz.h"

static deal_stream_options stream_options(void) {
  deal_stream_options o;
  DEAL_INIT(o);
  o.max_frames = 1 + below(9);
  if (one_in(3)) o.max_bytes = 1 + below(90);
  if (one_in(3)) o.window_ns = 1 + below(30), o.max_frames_per_window = below(4);
  if (one_in(2)) o.min_gap_ns = 1 + below(9);
  if (one_in(3)) o.context_before_ns = below(9), o.context_after_ns = below(9);
  if (one_in(3)) o.near = (int32_t)below(3), o.near_threshold = (double)below(9);
  if (one_in(2)) o.pending = 1 + (int32_t)below(9), o.groups = 1 + (int32_t)below(3);
  if (one_in(3)) o.draw = DEAL_DRAW_POWER;
  if (one_in(3)) o.random_share = (double)below(5) / 4;
  if (one_in(6)) {
    int64_t* const fields[] = {
        &o.max_frames,           &o.max_bytes,         &o.window_ns,     &o.max_frames_per_window,
        &o.max_bytes_per_window, &o.min_gap_ns,        &o.look_ahead_ns, &o.context_before_ns,
        &o.context_after_ns,     &o.max_context_frames};
    *fields[below((int64_t)(sizeof fields / sizeof *fields))] = odd_number();
  }
  if (one_in(20)) o.near_threshold = (double)odd_float();
  if (one_in(20)) o.beta = (double)odd_float();
  if (one_in(20)) o.random_share = (double)odd_float();
  if (one_in(20)) o.pending = (int32_t)odd_number();
  if (one_in(20)) o.groups = (int32_t)odd_number();
  if (one_in(20)) o.draw = (int32_t)odd_number();
  if (one_in(20)) o.near = (int32_t)odd_number();
  if (one_in(20)) o.struct_size = (size_t)below((int64_t)sizeof o + 40);
  return o;
}

static deal_stream_frame stream_frame(const uint8_t* signature) {
  deal_stream_frame f;
  DEAL_INIT(f);
  f.id = (uint64_t)below(30), f.name_hash = draw();
  f.timestamp_ns = one_in(40) ? odd_number() : below(200);
  f.bytes = one_in(40) ? odd_number() : below(20);
  f.score = one_in(20) ? (double)odd_float() : (double)below(9) / 4;
  f.sequence = one_in(9) ? draw() : (uint64_t)below(2);
  f.camera = one_in(9) ? (int32_t)odd_number() : (int32_t)below(2);
  if (!one_in(3)) f.signature = signature;
  if (one_in(60)) f.struct_size = (size_t)below((int64_t)offsetof(deal_stream_frame, signature));
  return f;
}

static deal_decision a_lie(void) {
  deal_decision d = {0};
  d.id = (uint64_t)below(30);
  d.arrival = one_in(9) ? draw() : (uint64_t)below(90);
  if (one_in(50)) d.arrival = UINT64_MAX;
  d.score = d.key = (double)some_float();
  d.timestamp_ns = below(200);
  d.action = one_in(20) ? (int32_t)odd_number() : 1 + (int32_t)below(3);
  d.why = one_in(20) ? (int32_t)odd_number() : 1 + (int32_t)below(one_in(2) ? 3 : 13);
  d.waiting = (int32_t)below(2), d.sent = (int32_t)below(2);
  return d;
}

static void stream_case(void) {
  const deal_stream_options options = stream_options();
  int64_t size = -1;
  deal_status status = deal_stream_size(&options, one_in(300) ? NULL : &size);
  count(status);
  /* Options may ask for more than a test machine has. */
  if (status != DEAL_OK || size < 0 || size > 1 << 20) return;
  const int64_t given = one_in(30) ? below(size) / 16 * 16 : size;
  void* memory = aligned_alloc(16, given > 0 ? (size_t)given : 16);
  if (memory == NULL || num_blocks == MOST_BLOCKS) abort();
  blocks[num_blocks++] = memory;
  deal_stream* stream = NULL;
  status = deal_stream_init(&options, (char*)memory + (one_in(60) ? 8 : 0), given, &stream);
  count(status);
  check((status == DEAL_OK) == (stream != NULL), "a stream, or an error");
  if (stream == NULL) return;
  uint8_t* signature = block(DEAL_THUMBNAIL_BYTES);
  const int64_t calls = 1 + below(60);
  int64_t restored = one_in(2) ? below(40) : 0;
  for (int64_t i = 0; i < calls; ++i) {
    memset(signature, (int)below(3), DEAL_THUMBNAIL_BYTES);
    const deal_stream_frame frame = stream_frame(signature);
    const int64_t room = below(4);
    deal_decision* decisions = block((size_t)room * sizeof *decisions);
    int64_t told = 0;
    const int kind = restored-- > 0 ? 0 : (int)below(12);
    if (kind == 0) {
      const deal_decision lie = a_lie();
      count(deal_stream_restore(stream, &frame, &lie));
    } else if (kind == 1) {
      count(deal_stream_end(stream, decisions, room, &told));
    } else if (kind == 2) {
      count(deal_stream_sent(stream, (uint64_t)below(30)));
    } else if (kind == 3) {
      deal_decision best;
      int32_t found;
      count(deal_stream_best(stream, &best, &found));
    } else if (kind == 4) {
      count(deal_stream_kept(stream, decisions, room, &told));
      told = 0;
    } else {
      count(deal_stream_push(stream, &frame, decisions, room, &told));
    }
    check(told >= 0 && told <= room, "no more decisions than room");
    for (int64_t k = 0; k < told; ++k) {
      check(decisions[k].action >= DEAL_KEEP && decisions[k].action <= DEAL_DROP, "an action");
      check(strcmp(deal_why_name(decisions[k].why), "unknown") != 0, "a reason");
    }
    deal_decision one;
    for (int64_t more = one_in(9) ? 0 : 1; more > 0;) { /* sometimes they are not taken */
      count(deal_stream_rest(stream, &one, 1, &more));
    }
  }
  deal_stream_counters counters;
  DEAL_INIT(counters);
  count(deal_stream_count(stream, &counters));
  check(counters.ranked >= 0 && counters.waiting >= 0 && counters.context >= 0, "counts");
}

#endif
