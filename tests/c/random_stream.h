/* Random rules and frames for the selector of streams, and what has to hold after every push. */
#ifndef DEAL_TESTS_RANDOM_STREAM_H
#define DEAL_TESTS_RANDOM_STREAM_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deal_stream.h"

static uint64_t random_state;

static uint64_t draw(void) { /* splitmix64 */
  uint64_t z = (random_state += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

static int64_t below(int64_t n) { return (int64_t)(draw() % (uint64_t)n); }
static int one_in(int64_t n) { return below(n) == 0; }
static double unit(void) { return (double)(draw() >> 11) * 0x1p-53; }

static deal_stream_options random_options(void) {
  deal_stream_options o;
  DEAL_INIT(o);
  o.max_frames = 1 + below(one_in(4) ? 60 : 8);
  if (one_in(3)) o.max_bytes = 1 + below(300);
  if (one_in(3)) {
    o.window_ns = 1 + below(60);
    if (!one_in(4)) o.max_frames_per_window = 1 + below(6);
    if (one_in(3)) o.max_bytes_per_window = 1 + below(60);
  }
  if (!one_in(3)) o.min_gap_ns = 1 + below(9);
  if (one_in(3)) o.look_ahead_ns = below(50);
  if (one_in(3)) o.context_before_ns = below(9), o.context_after_ns = below(9);
  if (one_in(6)) o.max_context_frames = 1 + below(8);
  if (one_in(3)) o.near = 1 + (int32_t)below(2), o.near_threshold = (double)below(9) / 4;
  if (one_in(4)) o.pending = 1 + (int32_t)below(12);
  if (one_in(4)) o.groups = 1 + (int32_t)below(3);
  if (one_in(4)) o.draw = DEAL_DRAW_POWER, o.beta = 0.5 + (double)below(4);
  if (one_in(4)) o.random_share = (double)below(5) / 4;
  o.seed = draw();
  return o;
}

/* Frames of up to four sequences and cameras, ids from 0. */
static void random_frame(deal_stream_frame* f, uint8_t* signature, int64_t* clocks, uint64_t id) {
  DEAL_INIT(*f);
  const int group = one_in(2) ? 0 : (int)below(4);
  f->id = id, f->sequence = (uint64_t)group / 2, f->camera = group % 2;
  clocks[group] += below(4) - (one_in(200) ? 500 : 0);
  f->timestamp_ns = clocks[group] - (one_in(10) ? below(20) : 0);
  f->score = one_in(2) ? unit() : (double)below(5) / 4;
  if (one_in(60)) f->score = one_in(2) ? (double)NAN : -0.5;
  f->bytes = below(20);
  char name[32];
  f->name_hash = deal_name_hash(name, (size_t)snprintf(name, sizeof name, "%d.jpg", (int)id));
  if (one_in(8)) return;
  memset(signature, (int)below(4), DEAL_THUMBNAIL_BYTES);
  signature[below(DEAL_THUMBNAIL_BYTES)] = (uint8_t)below(200);
  for (int i = 0; i < 96; ++i) signature[i] = (uint8_t)(signature[i] + 10 * (int)(draw() & 1));
  if (one_in(2)) memset(signature, 7, DEAL_THUMBNAIL_BYTES);
  f->signature = signature;
}

/* What is known of each frame from the decisions alone. */
enum { MOST_FRAMES = 400 };
typedef struct ledger {
  int64_t bytes[MOST_FRAMES], times[MOST_FRAMES];
  int part[MOST_FRAMES];  /* a deal_why, or 0 */
  int final[MOST_FRAMES]; /* 1: nothing may follow */
  uint64_t digest;
  const char* fault;
} ledger;

static void note(ledger* l, const deal_decision* d) {
  const uint64_t words[] = {d->id, (uint64_t)d->action, (uint64_t)d->why, (uint64_t)d->waiting,
                            d->arrival};
  for (int i = 0; i < 5; ++i) l->digest = (l->digest ^ words[i]) * 0x100000001b3u;
  if (d->id >= MOST_FRAMES || l->final[d->id]) {
    l->fault = "a decision about a frame that is done";
    return;
  }
  if (d->action == DEAL_KEEP) {
    if (d->why < DEAL_WHY_RANKED || d->why > DEAL_WHY_CONTEXT) l->fault = "kept for no part";
    if (l->part[d->id] == d->why) l->fault = "kept twice for the same part";
    l->part[d->id] = d->why;
    return;
  }
  if ((d->action == DEAL_EVICT) != (l->part[d->id] != 0)) l->fault = "evicted, but not kept";
  if (d->why <= 0 || d->why > DEAL_WHY_NEGATIVE) l->fault = "no reason";
  l->part[d->id] = 0;
  l->final[d->id] = !d->waiting;
}

static void check_limits(ledger* l, const deal_stream_options* o, int64_t frames) {
  int64_t picks = 0, context = 0, bytes = 0;
  for (int64_t i = 0; i < frames; ++i) {
    picks += l->part[i] == DEAL_WHY_RANKED || l->part[i] == DEAL_WHY_RANDOM;
    context += l->part[i] == DEAL_WHY_CONTEXT;
    if (l->part[i]) bytes += l->bytes[i];
  }
  if (picks > o->max_frames) l->fault = "more picks than max_frames";
  if (o->max_bytes > 0 && bytes > o->max_bytes) l->fault = "more than max_bytes";
  if (o->max_context_frames > 0 && context > o->max_context_frames) l->fault = "too much context";
}

/* Runs one random stream in a block of exactly the size that is told. Returns what was wrong. */
static const char* run_random_stream(uint64_t seed, uint64_t* digest) {
  random_state = seed;
  static ledger l;
  memset(&l, 0, sizeof l);
  l.digest = 0xcbf29ce484222325u;
  const deal_stream_options o = random_options();
  int64_t size;
  if (deal_stream_size(&o, &size) != DEAL_OK) return deal_last_error();
  void* block = aligned_alloc(16, (size_t)size);
  memset(block, (int)below(256), (size_t)size);
  deal_stream* stream;
  if (deal_stream_init(&o, block, size, &stream) != DEAL_OK) return deal_last_error();
  const int64_t frames = 1 + below(one_in(5) ? MOST_FRAMES : 60);
  int64_t clocks[4] = {0}, pushed = 0;
  uint8_t signature[DEAL_THUMBNAIL_BYTES];
  deal_decision decisions[5];
  for (int64_t i = 0; i <= frames && l.fault == NULL; ++i) {
    int64_t count;
    if (i < frames) {
      deal_stream_frame f;
      random_frame(&f, signature, clocks, (uint64_t)i);
      l.bytes[i] = f.bytes, l.times[i] = f.timestamp_ns, ++pushed;
      if (deal_stream_push(stream, &f, decisions, 5, &count) != DEAL_OK) l.fault = "no push";
    } else if (deal_stream_end(stream, decisions, 5, &count) != DEAL_OK) {
      l.fault = "no end";
    }
    while (l.fault == NULL && count > 0) {
      for (int64_t k = 0; k < count; ++k) note(&l, &decisions[k]);
      deal_stream_rest(stream, decisions, 5, &count);
    }
    check_limits(&l, &o, pushed);
    if (one_in(40)) {
      int32_t found;
      if (deal_stream_best(stream, decisions, &found) != DEAL_OK) l.fault = "no best";
      if (found && deal_stream_sent(stream, decisions[0].id) != DEAL_OK) l.fault = "not sent";
    }
  }
  int64_t kept = 0, count = 0, bytes = 0;
  for (int64_t i = 0; i < frames; ++i) {
    kept += l.part[i] != 0;
    bytes += l.part[i] ? l.bytes[i] : 0;
    if (l.fault == NULL && !l.part[i] && !l.final[i]) l.fault = "a frame without a last decision";
  }
  deal_stream_counters counters;
  DEAL_INIT(counters);
  deal_stream_kept(stream, NULL, 0, &count);
  deal_stream_count(stream, &counters);
  if (l.fault == NULL && (count != kept || counters.bytes != bytes || counters.waiting != 0)) {
    l.fault = "counters do not fit the decisions";
  }
  free(block);
  *digest = l.digest;
  return l.fault;
}

#endif
