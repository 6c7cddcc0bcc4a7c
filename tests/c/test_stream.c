/* The selector of streams from C11: its rules by hand, its memory, and the same decisions on every
 * processor. tests/stream compares it with the oracle. */
#include <math.h>
#include <stdint.h>

#include "allocations.h"
#include "deal_stream.h"
#include "random_stream.h"
#include "small_batch.h"

enum { S = 1000000000 }; /* nanoseconds */

static _Alignas(16) char block[1 << 20];
static deal_decision decisions[64];

static deal_stream* started(const deal_stream_options* options) {
  int64_t size = 0;
  deal_stream* stream = NULL;
  CHECK(deal_stream_size(options, &size) == DEAL_OK);
  CHECK(size > 0 && size <= (int64_t)sizeof block);
  CHECK(deal_stream_init(options, block, size, &stream) == DEAL_OK);
  return stream;
}

static int64_t pushed(deal_stream* stream, uint64_t id, int64_t seconds, double score) {
  deal_stream_frame frame;
  DEAL_INIT(frame);
  frame.id = id, frame.timestamp_ns = seconds * S, frame.score = score, frame.bytes = 10;
  int64_t count = -1;
  CHECK(deal_stream_push(stream, &frame, decisions, 64, &count) == DEAL_OK);
  return count;
}

static int is(int at, uint64_t id, int action, int why) {
  return decisions[at].id == id && decisions[at].action == action && decisions[at].why == why;
}

static void test_the_best_frames_are_kept(void) {
  deal_stream_options options;
  DEAL_INIT(options);
  options.max_frames = 2;
  deal_stream* stream = started(&options);
  CHECK(pushed(stream, 1, 0, 0.5) == 1 && is(0, 1, DEAL_KEEP, DEAL_WHY_RANKED));
  CHECK(pushed(stream, 2, 1, 0.5) == 1 && is(0, 2, DEAL_KEEP, DEAL_WHY_RANKED));
  CHECK(pushed(stream, 3, 2, 0.5) == 1 && is(0, 3, DEAL_DROP, DEAL_WHY_FRAMES)); /* came last */
  CHECK(pushed(stream, 4, 3, 0.7) == 2 && is(0, 2, DEAL_EVICT, DEAL_WHY_FRAMES));
  CHECK(is(1, 4, DEAL_KEEP, DEAL_WHY_RANKED) && decisions[1].arrival == 3);
  CHECK(pushed(stream, 5, 4, NAN) == 1 && is(0, 5, DEAL_DROP, DEAL_WHY_NOT_FINITE));
  deal_stream_counters counters;
  DEAL_INIT(counters);
  CHECK(deal_stream_count(stream, &counters) == DEAL_OK);
  CHECK(counters.pushed == 5 && counters.not_finite == 1 && counters.ranked == 2);
  CHECK(counters.bytes == 20);
}

static void test_a_gap_waits_for_a_better_frame(void) {
  deal_stream_options options;
  DEAL_INIT(options);
  options.max_frames = 10, options.min_gap_ns = 2 * (int64_t)S;
  deal_stream* stream = started(&options);
  CHECK(pushed(stream, 1, 0, 0.1) == 0);
  CHECK(pushed(stream, 2, 1, 0.2) == 0);
  CHECK(pushed(stream, 3, 2, 0.1) == 0); /* frame 1 waits for frame 2 */
  CHECK(pushed(stream, 4, 3, 0.3) == 3); /* at most 1 s from 2, 3 s from 1: nothing else can come */
  CHECK(is(0, 1, DEAL_DROP, DEAL_WHY_GAP) && is(1, 3, DEAL_DROP, DEAL_WHY_GAP));
  CHECK(is(2, 2, DEAL_KEEP, DEAL_WHY_RANKED));
  int64_t count;
  CHECK(deal_stream_end(stream, decisions, 0, &count) == DEAL_OK && count == 0);
  CHECK(deal_stream_end(stream, decisions, 64, &count) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "deal_stream_rest") != NULL);
  CHECK(deal_stream_rest(stream, decisions, 64, &count) == DEAL_OK && count == 1);
  CHECK(is(0, 4, DEAL_KEEP, DEAL_WHY_RANKED));
}

static void test_context_shares_the_fate_of_its_pick(void) {
  deal_stream_options options;
  DEAL_INIT(options);
  options.max_frames = 1, options.context_before_ns = options.context_after_ns = S;
  deal_stream* stream = started(&options);
  int64_t count;
  CHECK(pushed(stream, 1, 0, 0.1) == 0);
  CHECK(pushed(stream, 2, 1, 0.5) == 2 && is(0, 1, DEAL_KEEP, DEAL_WHY_RANKED));
  CHECK(is(1, 2, DEAL_KEEP, DEAL_WHY_CONTEXT) && decisions[1].waiting);
  CHECK(pushed(stream, 3, 2, 0.2) == 3); /* 2 is better, and has 1 and 3 around it */
  CHECK(is(0, 1, DEAL_KEEP, DEAL_WHY_CONTEXT) && is(1, 2, DEAL_KEEP, DEAL_WHY_RANKED));
  CHECK(is(2, 3, DEAL_KEEP, DEAL_WHY_CONTEXT));
  CHECK(deal_stream_end(stream, decisions, 64, &count) == DEAL_OK);
}

static void test_what_was_sent_stays(void) {
  deal_stream_options options;
  DEAL_INIT(options);
  options.max_frames = 2;
  deal_stream* stream = started(&options);
  pushed(stream, 1, 0, 0.1);
  pushed(stream, 2, 1, 0.2);
  int32_t found = 0;
  CHECK(deal_stream_best(stream, decisions, &found) == DEAL_OK && found && decisions[0].id == 2);
  CHECK(deal_stream_sent(stream, 2) == DEAL_OK);
  CHECK(deal_stream_sent(stream, 2) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(pushed(stream, 3, 2, 0.3) == 2 && is(0, 1, DEAL_EVICT, DEAL_WHY_FRAMES));
  CHECK(pushed(stream, 4, 3, 0.4) == 2 && is(0, 3, DEAL_EVICT, DEAL_WHY_FRAMES));
  CHECK(deal_stream_sent(stream, 4) == DEAL_OK);
  CHECK(pushed(stream, 5, 4, 0.9) == 1 && is(0, 5, DEAL_DROP, DEAL_WHY_FRAMES));
  CHECK(deal_stream_best(stream, decisions, &found) == DEAL_OK && !found);
}

static void test_wrong_calls_say_what_is_wrong(void) {
  deal_stream_options options;
  DEAL_INIT(options);
  int64_t size = 0, count = 0;
  CHECK(deal_stream_size(&options, &size) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "max_frames") != NULL);
  options.max_frames = 1, options.max_frames_per_window = 1;
  CHECK(deal_stream_size(&options, &size) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "window_ns") != NULL);
  options.window_ns = 1, options.random_share = NAN;
  CHECK(deal_stream_size(&options, &size) == DEAL_ERROR_INVALID_ARGUMENT);
  options.random_share = 0;
  CHECK(deal_stream_size(&options, &size) == DEAL_OK);
  deal_stream* stream = NULL;
  CHECK(deal_stream_init(&options, block, size - 1, &stream) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(deal_stream_init(&options, block + 8, size, &stream) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(stream == NULL);
  CHECK(deal_stream_init(&options, block, size, &stream) == DEAL_OK);
  deal_stream_frame frame;
  DEAL_INIT(frame);
  frame.bytes = -1;
  CHECK(deal_stream_push(stream, &frame, decisions, 64, &count) == DEAL_ERROR_INVALID_ARGUMENT);
  frame.bytes = 0, frame.timestamp_ns = INT64_MIN;
  CHECK(deal_stream_push(stream, &frame, decisions, 64, &count) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(deal_stream_push(NULL, &frame, decisions, 64, &count) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strcmp(deal_why_name(DEAL_WHY_GAP), "gap") == 0);
  CHECK(strcmp(deal_why_name(99), "unknown") == 0);
}

static void test_a_stream_takes_no_memory_and_decides_alike_on_every_processor(void) {
  uint64_t all = 0, digest = 0;
  const long before = allocations;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const char* fault = run_random_stream(seed, &digest);
    CHECK(fault == NULL);
    all = (all ^ digest) * 0x100000001b3u;
  }
  /* one block per stream, taken by the test itself */
  CHECK(!COUNTS_ALLOCATIONS || allocations == before + 300);
  CHECK(all == 0xaea94a740c1c9a4bu);
  if (all != 0xaea94a740c1c9a4bu) printf("digest %llx\n", (unsigned long long)all);
}

int main(void) {
  test_the_best_frames_are_kept();
  test_a_gap_waits_for_a_better_frame();
  test_context_shares_the_fate_of_its_pick();
  test_what_was_sent_stays();
  test_wrong_calls_say_what_is_wrong();
  test_a_stream_takes_no_memory_and_decides_alike_on_every_processor();
  return report_checks();
}
