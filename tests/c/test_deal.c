/* The C ABI from C11: the example of deal.h, and what its rules on results, threads and memory
 * promise. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "allocations.h"
#include "deal.h"
#include "small_batch.h"

typedef struct results {
  int64_t n_pixels[B], hist[B * DEAL_HISTOGRAM_LEVELS], class_pixels[B * C];
  double difficulty[B], entropy[B], region_entropy[B * R], length[B];
  int64_t region_corners[B * R];
  float map[B * H * W];
  uint8_t classes[B * H * W];
} results;

static deal_status run_batch(deal_context* context, int64_t batch, int reserve, results* r) {
  deal_tensor logits = make_logits();
  logits.batch = batch;
  deal_head head = make_head();
  deal_regions regions = {sizeof regions, DEAL_REGIONS_GRID, CELL};
  deal_input input = {sizeof input, &logits, H, W, DEAL_ALIGN_CORNERS, &head, NULL, &regions};
  deal_output output = {sizeof output};
  memset(r, 0, sizeof *r);
  output.n_pixels = r->n_pixels;
  output.difficulty_mean = r->difficulty;
  output.entropy_mean = r->entropy;
  output.entropy_hist = r->hist;
  output.class_pixels = r->class_pixels;
  output.region_entropy_mean = r->region_entropy;
  output.difficulty_map = r->map;
  output.class_map = r->classes;
  output.boundary_length = r->length;
  output.region_boundary_corners = r->region_corners;
  if (reserve) return deal_reserve(context, &input);
  deal_status status = deal_enqueue(context, &input, &output, NULL);
  if (status == DEAL_OK) status = deal_finish(context);
  return status;
}

static deal_status run(deal_context* context, results* r) { return run_batch(context, B, 0, r); }

static void test_results_hang_together(void) {
  deal_context* context = make_context(1);
  results* r = malloc(sizeof *r);
  CHECK(run(context, r) == DEAL_OK);
  for (int b = 0; b < B; ++b) {
    CHECK(r->n_pixels[b] == H * W);
    CHECK(r->entropy[b] > 0.0 && r->entropy[b] < log(C));
    double sum = 0.0;
    int64_t levels = 0, pixels = 0, counted[C] = {0};
    for (int i = 0; i < H * W; ++i) {
      const float d = r->map[b * H * W + i];
      CHECK(d >= 0.0f && d <= 1.0f);
      sum += d;
      ++counted[r->classes[b * H * W + i]];
    }
    CHECK(fabs(sum / (H * W) - r->difficulty[b]) < 1e-6);
    for (int k = 0; k < DEAL_HISTOGRAM_LEVELS; ++k) levels += r->hist[b * 240 + k];
    for (int c = 0; c < C; ++c) {
      pixels += r->class_pixels[b * C + c];
      CHECK(counted[c] == r->class_pixels[b * C + c]);
    }
    CHECK(levels == H * W && pixels == H * W);
  }
  free(r);
  deal_context_destroy(context);
}

/* Members that are the images of the batch in turn: of the same image all are equal. */
static void test_a_committee_is_compared_beside_member_0(void) {
  deal_context* context = make_context(2);
  deal_tensor logits = make_logits();
  deal_regions regions = {sizeof regions, DEAL_REGIONS_GRID, CELL};
  deal_input input = {sizeof input, &logits, H, W, DEAL_ALIGN_CORNERS, NULL, NULL, &regions};
  double alone[B], entropy[B], votes[B], information[B], consensus[B], region_votes[R];
  deal_output output = {sizeof output};
  output.entropy_mean = alone;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_OK);

  output.entropy_mean = entropy;
  output.vote_entropy_mean = votes;
  output.mutual_information_mean = information;
  output.consensus_entropy_mean = consensus;
  logits.members = 5;
  CHECK(deal_reserve(context, &input) == DEAL_OK);
  const long before = allocations;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_OK);
  CHECK(allocations == before);
  for (int b = 0; b < B; ++b) {
    CHECK(entropy[b] == alone[b]);
    CHECK(votes[b] == 0.0);
    CHECK(information[b] >= 0.0 && information[b] < 1e-6);
    CHECK(fabs(consensus[b] - alone[b]) < 1e-6);
  }

  logits.members = B;
  logits.batch = 1;
  logits.stride[0] = logits.stride[1];
  output.region_vote_entropy_mean = region_votes;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_OK);
  CHECK(entropy[0] == alone[0]);
  CHECK(votes[0] > 0.0 && votes[0] < log(B));
  CHECK(fabs(consensus[0] - information[0] - (alone[0] + alone[1] + alone[2]) / 3) < 1e-6);
  double sum = 0.0; /* of regions, by their pixels */
  for (int r = 0; r < R; ++r) {
    const int height = H - r / 7 * CELL < CELL ? H - r / 7 * CELL : CELL;
    const int width = W - r % 7 * CELL < CELL ? W - r % 7 * CELL : CELL;
    sum += region_votes[r] * height * width;
  }
  CHECK(fabs(sum / (H * W) - votes[0]) < 1e-9);
  deal_context_destroy(context);
}

static void test_threads_do_not_change_a_bit(void) {
  results *one = malloc(sizeof *one), *many = malloc(sizeof *many);
  deal_context* context = make_context(1);
  CHECK(run(context, one) == DEAL_OK);
  deal_context_destroy(context);
  for (int threads = 2; threads <= 5; ++threads) {
    context = make_context(threads);
    for (int again = 0; again < 3; ++again) {
      CHECK(run(context, many) == DEAL_OK);
      CHECK(memcmp(one, many, sizeof *one) == 0);
    }
    deal_context_destroy(context);
  }
  free(one);
  free(many);
}

static void* score_alone(void* out) {
  deal_context* context = make_context(2);
  if (run(context, out) != DEAL_OK) memset(out, 0xff, sizeof(results));
  deal_context_destroy(context);
  return NULL;
}

static void test_contexts_run_side_by_side(void) {
  results* all = malloc(3 * sizeof *all);
  pthread_t threads[2];
  score_alone(all + 2);
  for (int i = 0; i < 2; ++i) pthread_create(&threads[i], NULL, score_alone, all + i);
  for (int i = 0; i < 2; ++i) pthread_join(threads[i], NULL);
  CHECK(memcmp(all, all + 2, sizeof *all) == 0);
  CHECK(memcmp(all + 1, all + 2, sizeof *all) == 0);
  free(all);
}

/* One image at a time (2 of 3) and one a thread (3 of 3). */
static void test_scoring_takes_no_memory_once_it_is_reserved(void) {
  results* r = malloc(sizeof *r);
  deal_context* context = make_context(3);
  const long before = allocations;
  CHECK(run_batch(context, B, 1, r) == DEAL_OK);
  CHECK(allocations > before || !COUNTS_ALLOCATIONS);
  const long reserved = allocations;
  for (int64_t batch = B - 1; batch <= B; ++batch) {
    CHECK(run_batch(context, batch, 0, r) == DEAL_OK);
  }
  CHECK(allocations == reserved);
  deal_context_destroy(context);
  free(r);
}

static void test_a_context_says_when_it_was_forked(void) {
  results* r = malloc(sizeof *r);
  deal_context* context = make_context(2);
  CHECK(run(context, r) == DEAL_OK);
  const pid_t child = fork();
  if (child == 0) {
    const int refused = run(context, r) == DEAL_ERROR_INVALID_ARGUMENT &&
                        strstr(deal_last_error(), "before fork()") != NULL;
    deal_context_destroy(context);
    deal_context_options options = {sizeof options};
    options.threads = 2;
    _exit(refused && deal_context_create(&options, &context) == DEAL_OK &&
                  run(context, r) == DEAL_OK
              ? 0
              : 1);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(run(context, r) == DEAL_OK);
  deal_context_destroy(context);
  free(r);
}

static void test_boxes_need_no_statistics(void) {
  deal_context* context = make_context(2);
  deal_tensor logits = make_logits();
  static int32_t map[H * W];
  memset(map, -1, sizeof map);
  map[3 * W + 9] = map[7 * W + 2] = 1;
  deal_regions regions = {sizeof regions, DEAL_REGIONS_SEGMENTS, 0, map, 1, 3};
  deal_input input = {sizeof input, &logits, H, W, DEAL_ALIGN_CORNERS};
  input.regions = &regions;
  int64_t x0[B * 3], y0[B * 3], x1[B * 3], y1[B * 3];
  deal_output output = {sizeof output};
  output.region_x0 = x0;
  output.region_y0 = y0;
  output.region_x1 = x1;
  output.region_y1 = y1;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_OK);
  for (int b = 0; b < B; ++b) {
    const int at = b * 3 + 1; /* regions 0 and 2 are empty */
    CHECK(x0[at] == 2 && y0[at] == 3 && x1[at] == 10 && y1[at] == 8);
    CHECK(x0[at - 1] == 0 && x1[at - 1] == 0 && y0[at + 1] == 0 && y1[at + 1] == 0);
  }
  deal_context_destroy(context);
}

static void test_bad_logits_are_counted_not_scored(void) {
  deal_context* context = make_context(2);
  deal_tensor logits = make_logits();
  deal_input input = {sizeof input, &logits, H, W, DEAL_ALIGN_CORNERS};
  int64_t nonfinite[B], n_pixels[B];
  double entropy[B];
  deal_output output = {sizeof output};
  output.nonfinite = nonfinite;
  output.n_pixels = n_pixels;
  output.entropy_mean = entropy;
  const float kept = logits_data[C * h * w + 7];
  logits_data[C * h * w + 7] = NAN;
  CHECK(deal_enqueue(context, &input, &output, NULL) == DEAL_OK);
  logits_data[C * h * w + 7] = kept;
  CHECK(nonfinite[0] == 0 && nonfinite[1] == 1 && nonfinite[2] == 0);
  CHECK(n_pixels[1] == 0 && isnan(entropy[1]) && !isnan(entropy[0]));
  deal_context_destroy(context);
}

/* qemu's user mode cannot start threads in a fork of a process with threads: there, --no-fork. */
int main(int count, char** options) {
  fill_logits();
  test_results_hang_together();
  test_a_committee_is_compared_beside_member_0();
  test_threads_do_not_change_a_bit();
  test_contexts_run_side_by_side();
  test_scoring_takes_no_memory_once_it_is_reserved();
  if (count > 1 && strcmp(options[1], "--no-fork") == 0) {
    printf("skipped: a forked context\n");
  } else {
    test_a_context_says_when_it_was_forked();
  }
  test_boxes_need_no_statistics();
  test_bad_logits_are_counted_not_scored();
  return report_checks();
}
