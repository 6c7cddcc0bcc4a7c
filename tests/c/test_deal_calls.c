/* The C ABI from C11: versions and sizes, and the status and text of every wrong call. */
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "deal.h"
#include "small_batch.h"

static void test_sizes_are_told_before_memory_is_taken(void) {
  deal_tensor logits = make_logits();
  deal_head head = make_head();
  deal_regions regions = {sizeof regions, DEAL_REGIONS_GRID, CELL};
  deal_input input = {sizeof input, &logits, H, W, DEAL_HALF_PIXEL, &head, NULL, &regions};
  deal_sizes sizes = {sizeof sizes};
  CHECK(deal_output_sizes(&input, &sizes) == DEAL_OK);
  CHECK(sizes.batch == B && sizes.classes == C && sizes.regions == R);
  CHECK(sizes.grid_height == 6 && sizes.grid_width == 8);
  deal_sizes older = {offsetof(deal_sizes, regions), 0, 0, -7, -7, -7};
  CHECK(deal_output_sizes(&input, &older) == DEAL_OK);
  CHECK(older.batch == B && older.classes == C && older.regions == -7 && older.grid_width == -7);
  deal_context* context = make_context(2);
  CHECK(deal_reserve(context, &input) == DEAL_OK);
  deal_context_destroy(context);
}

static void test_an_older_caller_has_a_shorter_struct(void) {
  deal_context* context = make_context(1);
  deal_tensor logits = make_logits();
  deal_input input = {offsetof(deal_input, head), &logits, H, W, DEAL_ALIGN_CORNERS};
  input.head = (const deal_head*)(uintptr_t)8; /* beyond the size given: must not be read */
  int64_t n_pixels[B];
  deal_output output = {sizeof output};
  output.n_pixels = n_pixels;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_OK);
  CHECK(n_pixels[0] == H * W);
  deal_context_destroy(context);
}

/* A program built against a header without uncertainty_weight: what follows its head is not read.
 */
static void test_an_older_head_has_no_weights_of_uncertainty(void) {
  deal_context* context = make_context(1);
  deal_tensor logits = make_logits();
  deal_head head = make_head();
  deal_input input = {sizeof input, &logits, H, W, DEAL_ALIGN_CORNERS, &head};
  static const float none[C] = {0.0f}, some[C] = {1.0f, -2.0f, 0.5f, 3.0f, 0.0f};
  double older[B], zeros[B], weighted[B];
  deal_output output = {sizeof output};
  head.struct_size = offsetof(deal_head, uncertainty_weight);
  head.uncertainty_weight = (const float*)(uintptr_t)8;
  output.difficulty_mean = older;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_OK);
  head.struct_size = sizeof head;
  head.uncertainty_weight = none;
  output.difficulty_mean = zeros;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_OK);
  head.uncertainty_weight = some;
  output.difficulty_mean = weighted;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_OK);
  for (int b = 0; b < B; ++b) {
    CHECK(older[b] == zeros[b]);
    CHECK(older[b] != weighted[b]);
  }
  const float bad[C] = {1.0f, 2.0f, NAN, 0.0f, 0.0f};
  head.uncertainty_weight = bad;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "finite") != NULL);
  deal_context_destroy(context);
}

static void test_numbers_out_of_range_are_refused(void) {
  deal_tensor logits = make_logits();
  deal_head head = make_head();
  static int32_t map[H * W + 1];
  deal_regions regions = {sizeof regions, DEAL_REGIONS_GRID, INT64_MAX};
  deal_input input = {sizeof input, &logits, H, W, DEAL_ALIGN_CORNERS, &head, NULL, &regions};
  deal_sizes sizes = {sizeof sizes};
  CHECK(deal_output_sizes(&input, &sizes) == DEAL_OK && sizes.regions == 1);
  regions.kind = DEAL_REGIONS_SEGMENTS;
  regions.map = map;
  regions.count = INT64_MAX;
  CHECK(deal_output_sizes(&input, &sizes) == DEAL_ERROR_INVALID_ARGUMENT);
  regions.count = 1;
  regions.map = (const int32_t*)(const void*)((const char*)map + 1);
  CHECK(deal_output_sizes(&input, &sizes) == DEAL_ERROR_INVALID_ARGUMENT);
  input.regions = NULL;
  head.grid_height = head.grid_width = INT64_MAX / 2;
  CHECK(deal_output_sizes(&input, &sizes) == DEAL_ERROR_INVALID_ARGUMENT);
  head.grid_height = 0; /* half a grid */
  CHECK(deal_output_sizes(&input, &sizes) == DEAL_ERROR_INVALID_ARGUMENT);
  head = make_head();
  head.bias = NAN;
  CHECK(deal_output_sizes(&input, &sizes) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "finite") != NULL);
  head = make_head();
  logits.data = (const char*)logits_data + 2;
  CHECK(deal_output_sizes(&input, &sizes) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "aligned") != NULL);
}

static void test_wrong_calls_say_what_is_wrong(void) {
  deal_context* context = make_context(1);
  deal_tensor logits = make_logits();
  deal_input input = {sizeof input, &logits, H, W, DEAL_ALIGN_CORNERS};
  deal_output output = {sizeof output};
  double mean[B];
  CHECK(deal_enqueue(NULL, &input, &output, NULL) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "context is NULL") != NULL);
  CHECK(deal_enqueue(context, NULL, &output, NULL) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(deal_enqueue(context, &input, NULL, NULL) == DEAL_ERROR_INVALID_ARGUMENT);
  output.difficulty_mean = mean;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "without a head") != NULL);
  output.difficulty_mean = NULL;
  logits.struct_size = 0;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "struct_size") != NULL);
  logits.struct_size = sizeof logits - 4; /* ends within a field */
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "struct_size is") != NULL);
  logits = make_logits();
  logits.members = DEAL_MAX_MEMBERS + 1;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "65 committee members; 1 to 64") != NULL);
  logits = make_logits();
  output.vote_entropy_mean = mean;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "logits have one member") != NULL);
  output.vote_entropy_mean = NULL;
  deal_tensor grids = logits;
  grids.members = 2;
  grids.channels = 1;
  input.difficulty = &grids;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "the difficulty has 2 committee members") != NULL);
  input.difficulty = NULL;
  logits.device = DEAL_CUDA;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_ERROR_UNSUPPORTED);
  logits = make_logits();
  logits.channels = 0;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_ERROR_INVALID_ARGUMENT);
  logits = make_logits();
  static int32_t map[H * W];
  map[17] = 4;
  deal_regions regions = {sizeof regions, DEAL_REGIONS_SEGMENTS, 0, map, 1, 4};
  input.regions = &regions;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "the id 4, but only 4 regions") != NULL);
  deal_context_destroy(context);
  deal_context_destroy(NULL);

  deal_context_options options = {sizeof options};
  options.device = DEAL_CUDA;
  CHECK(deal_context_create(&options, &context) == DEAL_ERROR_UNSUPPORTED);
  CHECK(context == NULL);
}

static void test_areas_are_numbered_and_maps_checked(void) {
  const int32_t map[6] = {4, 4, -1, 4, 7, 7};
  int32_t ids[6];
  int64_t count = -1;
  CHECK(deal_components(map, 2, 3, 1, ids, &count) == DEAL_OK && count == 2);
  const int32_t all[6] = {0, 0, -1, 0, 1, 1}, large[6] = {0, 0, -1, 0, -1, -1};
  CHECK(memcmp(ids, all, sizeof ids) == 0);
  CHECK(deal_components(map, 2, 3, 3, ids, &count) == DEAL_OK && count == 1);
  CHECK(memcmp(ids, large, sizeof ids) == 0);
  CHECK(deal_components(NULL, 2, 3, 1, ids, &count) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(deal_components(map, 0, 3, 1, ids, &count) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(deal_components(map, 1 << 16, 1 << 15, 1, ids, &count) == DEAL_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(deal_last_error(), "1 to 2^31 - 1 pixels") != NULL);
}

static void count_line(void* user, const char* message) {
  if (strstr(message, "threads") != NULL) ++*(int*)user;
}

static void test_logs_go_to_the_callback(void) {
  int lines = 0;
  deal_context_options options = {sizeof options};
  options.log = count_line;
  options.log_user = &lines;
  deal_context* context = NULL;
  CHECK(deal_context_create(&options, &context) == DEAL_OK);
  CHECK(lines == 1);
  deal_context_destroy(context);
}

static deal_status score_once(deal_context* context) {
  deal_tensor logits = make_logits();
  double entropy[B];
  deal_input input = {sizeof input, &logits, H, W, DEAL_ALIGN_CORNERS};
  deal_output output = {sizeof output};
  output.entropy_mean = entropy;
  return deal_enqueue(context, &input, &output, NULL);
}

static void test_counters_tell_frames_and_memory(void) {
  for (int threads = 1; threads <= 4;
       threads += 3) { /* one image a thread, and one after another */
    deal_context* context = make_context(threads);
    deal_context_counters counters;
    DEAL_INIT(counters);
    CHECK(deal_context_count(context, &counters) == DEAL_OK);
    CHECK(counters.frames == 0 && counters.nonfinite_frames == 0 && counters.host_bytes == 0);
    CHECK(score_once(context) == DEAL_OK);
    const float kept = logits_data[C * h * w];
    logits_data[C * h * w] = NAN;
    CHECK(score_once(context) == DEAL_OK);
    logits_data[C * h * w] = kept;
    CHECK(deal_context_count(context, &counters) == DEAL_OK);
    CHECK(counters.frames == 2 * B && counters.nonfinite_frames == 1);
    CHECK(counters.host_bytes > B * C * h * w && counters.device_bytes == 0);
    counters.struct_size = offsetof(deal_context_counters, host_bytes); /* of an older header */
    counters.host_bytes = -7;
    CHECK(deal_context_count(context, &counters) == DEAL_OK && counters.host_bytes == -7);
    CHECK(deal_context_count(NULL, &counters) == DEAL_ERROR_INVALID_ARGUMENT);
    CHECK(deal_context_count(context, NULL) == DEAL_ERROR_INVALID_ARGUMENT);
    deal_context_destroy(context);
  }
}

static pthread_t creator;
static _Atomic int started[8], in_creator;

static void on_start(void* user, int32_t number) {
  ++started[number];
  CHECK(user == &creator);
  in_creator += pthread_equal(pthread_self(), creator) != 0;
}

static void test_every_thread_of_a_context_starts_with_the_callback(void) {
  creator = pthread_self();
  for (int threads = 1; threads <= 3; threads += 2) {
    memset((void*)started, 0, sizeof started);
    deal_context_options options;
    DEAL_INIT(options);
    options.threads = threads;
    options.on_thread_start = on_start;
    options.thread_user = &creator;
    deal_context* context = NULL;
    CHECK(deal_context_create(&options, &context) == DEAL_OK);
    CHECK(score_once(context) == DEAL_OK);
    deal_context_destroy(context); /* waits for every thread */
    for (int number = 0; number < 8; ++number) {
      CHECK(started[number] == (number >= 1 && number < threads));
    }
  }
  CHECK(in_creator == 0);
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void wait_at_gate(void* user, int32_t number) {
  (void)user;
  (void)number;
  pthread_mutex_lock(&gate);
  pthread_mutex_unlock(&gate);
}

/* With head, regions and boundary lines. */
typedef struct whole_tables {
  double difficulty[B], length[B], region_length[B * R];
  int64_t corners[B], region_corners[B * R];
} whole_tables;

static void score_whole(deal_context* context, whole_tables* found) {
  deal_tensor logits = make_logits();
  deal_head head = make_head();
  deal_regions regions = {sizeof regions, DEAL_REGIONS_GRID, CELL};
  deal_input input = {sizeof input, &logits, H, W, DEAL_HALF_PIXEL, &head, NULL, &regions};
  deal_output output = {sizeof output};
  output.difficulty_mean = found->difficulty;
  output.boundary_length = found->length, output.boundary_corners = found->corners;
  output.region_boundary_length = found->region_length;
  output.region_boundary_corners = found->region_corners;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_OK);
}

/* Threads that do not come, since others have their cores: the caller scores by itself. */
static void test_the_caller_does_not_wait_for_threads_that_come_late(void) {
  static whole_tables alone, found;
  deal_context* context = make_context(1);
  score_whole(context, &alone);
  CHECK(alone.length[0] > 0 && alone.region_corners[0] > 0);
  deal_context_destroy(context);
  for (int threads = 3; threads <= 5; threads += 2) { /* an image a thread, and rows of one */
    deal_context_options options;
    DEAL_INIT(options);
    options.threads = threads;
    options.on_thread_start = wait_at_gate;
    pthread_mutex_lock(&gate);
    CHECK(deal_context_create(&options, &context) == DEAL_OK);
    score_whole(context, &found); /* would never return */
    CHECK(memcmp(&found, &alone, sizeof alone) == 0);
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < 50; ++i) {
      memset(&found, 0, sizeof found);
      score_whole(context, &found);
      CHECK(memcmp(&found, &alone, sizeof alone) == 0);
    }
    deal_context_destroy(context);
  }
}

int main(void) {
  fill_logits();
  CHECK(deal_abi_version() == DEAL_ABI_VERSION);
  CHECK(strstr(deal_build_info(), "isa=") != NULL);
  CHECK(strcmp(deal_status_name(DEAL_OK), "ok") == 0);
  test_sizes_are_told_before_memory_is_taken();
  test_an_older_caller_has_a_shorter_struct();
  test_an_older_head_has_no_weights_of_uncertainty();
  test_numbers_out_of_range_are_refused();
  test_wrong_calls_say_what_is_wrong();
  test_areas_are_numbered_and_maps_checked();
  test_logs_go_to_the_callback();
  test_counters_tell_frames_and_memory();
  test_every_thread_of_a_context_starts_with_the_callback();
  test_the_caller_does_not_wait_for_threads_that_come_late();
  return report_checks();
}
