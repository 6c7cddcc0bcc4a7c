/*
 * A seeded fuzzer of the C ABI: random structs, right and wrong, under sanitizers.
 *
 *     build/fuzz_deal_sanitized SEED COUNT
 *
 * Every buffer is an allocation of its own and exactly as large as deal.h says, so that the address
 * sanitizer sees one element too many. What has to be true of results is checked besides: counts
 * that add up, means within their range. Prints how many cases ended with each status, as JSON.
 * Pointers to less than deal.h asks for are never passed: no library can tell.
 */
#define _GNU_SOURCE /* memfd_create */
#include "fuzz_calls.h"
#include "fuzz_models.h"
#include "fuzz_streams.h"
#include "fuzz_structs.h"

/* ---- results ---- */

static int within(double value, double low, double high) {
  return isnan(value) || (value >= low - 1e-6 && value <= high + 1e-6);
}

static void check_results(const deal_output* o, const deal_sizes* s, int64_t pixels) {
  const double most = log((double)s->classes) + 1e-4;
  for (int64_t b = 0; b < s->batch; ++b) {
    if (o->n_pixels) {
      check(o->n_pixels[b] >= 0 && o->n_pixels[b] <= pixels, "0 <= n_pixels <= H W");
      if (o->nonfinite) check(o->nonfinite[b] >= 0, "0 <= nonfinite");
      if (o->nonfinite && o->nonfinite[b]) check(o->n_pixels[b] == 0, "NaN: n_pixels is 0");
      if (o->class_pixels) {
        int64_t sum = 0;
        for (int64_t c = 0; c < s->classes; ++c) sum += o->class_pixels[b * s->classes + c];
        check(sum == o->n_pixels[b], "class_pixels sum to n_pixels");
      }
      const int64_t* histograms[] = {o->entropy_hist, o->difficulty_hist, o->difficulty_hist_image};
      for (int i = 0; i < 3; ++i) {
        if (histograms[i] == NULL) continue;
        int64_t sum = 0;
        for (int l = 0; l < DEAL_HISTOGRAM_LEVELS; ++l) {
          sum += histograms[i][b * DEAL_HISTOGRAM_LEVELS + l];
        }
        check(sum == o->n_pixels[b], "histograms sum to n_pixels");
      }
      if (o->boundary_pixels) check(o->boundary_pixels[b] <= o->n_pixels[b], "boundary <= n");
    }
    if (o->entropy_mean) check(within(o->entropy_mean[b], 0, most), "entropy in 0 ... ln C");
    if (o->difficulty_mean) check(within(o->difficulty_mean[b], 0, 1), "difficulty in 0 ... 1");
    if (o->margin_mean) check(within(o->margin_mean[b], -1, 1), "margin in -1 ... 1");
    if (o->boundary_length) check(o->boundary_length[b] >= 0, "0 <= boundary_length");
    if (o->region_n_pixels && o->n_pixels) {
      int64_t sum = 0;
      for (int64_t r = 0; r < s->regions; ++r) sum += o->region_n_pixels[b * s->regions + r];
      check(sum <= o->n_pixels[b], "the regions' pixels are the image's");
    }
  }
  if (o->region_majority_class) {
    for (int64_t i = 0; i < s->batch * s->regions; ++i) {
      check(o->region_majority_class[i] >= -1 && o->region_majority_class[i] < s->classes, "class");
    }
  }
}

/* ---- cases ---- */

enum { CONTEXTS = 6 };
static deal_context* contexts[CONTEXTS];
static void contexts_case(void) {
  deal_context_options options = {sizeof options};
  options.threads = one_in(4) ? (int32_t)below(3) : 1;
  options.isa = (int32_t)below(5);
  if (one_in(2)) {
    switch (below(5)) {
      case 0:
        options.struct_size = (size_t)below((int64_t)sizeof options + 40);
        break;
      case 1:
        options.device = (int32_t)odd_number();
        break;
      case 2:
        options.device_index = (int32_t)odd_number();
        break;
      case 3:
        options.threads = -1 - (int32_t)below(9);
        break;
      default:
        options.isa = (int32_t)odd_number();
    }
  }
  deal_context* context = NULL;
  const deal_status status =
      deal_context_create(one_in(50) ? NULL : &options, one_in(50) ? NULL : &context);
  count(status);
  check(context == NULL || status == DEAL_OK, "an error leaves no context");
  if (context == NULL) return;
  const int at = (int)below(CONTEXTS);
  deal_context_destroy(contexts[at]);
  contexts[at] = context;
}

static void components_case(void) {
  const int64_t height = 1 + below(9), width = 1 + below(9), n = height * width;
  int32_t *map = block((size_t)n * sizeof *map), *ids = block((size_t)n * sizeof *ids);
  for (int64_t i = 0; i < n; ++i)
    map[i] = one_in(30) ? (int32_t)odd_number() : (int32_t)below(4) - 1;
  int64_t found = -7;
  const int wrong = one_in(10);
  const int64_t odd = odd_number(), bad = odd > 0 ? INT64_MAX - below(9) : odd;
  const deal_status status =
      deal_components(wrong && one_in(4) ? NULL : map, wrong && one_in(3) ? bad : height,
                      wrong && one_in(3) ? bad : width, one_in(3) ? odd_number() : below(5),
                      wrong && one_in(4) ? NULL : ids, wrong && one_in(4) ? NULL : &found);
  count(status);
  if (status != DEAL_OK) return;
  check(found >= 0 && found <= n, "0 <= components <= pixels");
  for (int64_t i = 0; i < n; ++i) check(ids[i] >= -1 && ids[i] < found, "ids below the count");
}

static void score_case(void) {
  const int64_t members = one_in(6) ? 2 + below(3) : 1, batch = 1 + below(2);
  const int64_t classes = one_in(300) ? 1 + below(DEAL_MAX_CLASSES) : 1 + below(6);
  const int large = one_in(8);
  const int64_t h = 1 + below(5), w = 1 + below(6);
  const int64_t H = 1 + below(large ? 14 : 5), W = 1 + below(large ? 40 : 12);
  deal_tensor logits = tensor(members, batch, classes, h, w);
  deal_head head = random_head(classes);
  deal_tensor difficulty =
      one_in(5) ? tensor(1, batch - one_in(40), 1, 1 + below(6), 1 + below(6)) : (deal_tensor){0};
  deal_regions regions = random_regions(batch, H, W);
  deal_input input = {sizeof input, &logits, H, W, (int32_t)below(2)};
  if (!one_in(3)) input.head = &head;
  if (difficulty.data) input.difficulty = &difficulty;
  if (one_in(2)) input.regions = &regions;
  const int cut = one_in(240);
  if (one_in(3)) {
    input.mask_shared = cut ? 0 : (int32_t)below(2);
    const size_t n = (size_t)((input.mask_shared ? 1 : batch) * H * W);
    uint8_t* mask = block(n);
    const int64_t kept = below(4);
    for (size_t i = 0; i < n; ++i) mask[i] = below(4) <= kept ? (uint8_t)draw() : 0;
    input.mask = mask;
  }
  if (cut) input.struct_size = (size_t)below((int64_t)sizeof input + 40);
  if (one_in(30)) {
    switch (1 + below(3)) {
      case 1:
        input.logits = NULL;
        break;
      case 2:
        *(one_in(2) ? &input.raster_height : &input.raster_width) = -below(9);
        break;
      default:
        input.sampling = (int32_t)odd_number() | 2;
    }
  }
  deal_sizes sizes = {sizeof sizes};
  if (one_in(500)) count(deal_output_sizes(one_in(2) ? NULL : &input, NULL));
  deal_status status = deal_output_sizes(&input, &sizes);
  count(status);
  deal_context* context = one_in(500) ? NULL : contexts[below(CONTEXTS)];
  if (one_in(5)) count(deal_reserve(context, &input));
  if (one_in(3)) return;
  /* Without sizes nothing may be written: buffers of no byte show it. */
  const int none = status != DEAL_OK;
  if (none) sizes = (deal_sizes){sizeof sizes};
  check(sizes.regions <= H * W + 1 || regions.kind == DEAL_REGIONS_SEGMENTS, "so many regions");
  const size_t B = (size_t)sizes.batch, R = (size_t)sizes.regions, C = (size_t)sizes.classes;
  const size_t cells = (size_t)(sizes.grid_height * sizes.grid_width);
  deal_output output = {sizeof output};
  const int64_t rare = 1 + below(9);
  const int has_difficulty = input.head || input.difficulty || one_in(100);
  const int committee = members > 1 || one_in(100);
#define WANT(field, count) \
  if (one_in(rare)) output.field = block((size_t)(count) * sizeof *output.field)
  if (!one_in(4)) output.n_pixels = block(B * sizeof *output.n_pixels);
  WANT(nonfinite, B);
  /* Every column of the tables of images and of regions, by the list of the library itself. */
#define COUNT_row 1
#define COUNT_levels DEAL_HISTOGRAM_LEVELS
#define COUNT_classes C
#define ROWS_image B
#define ROWS_region (B * R)
#define OF_image 1
#define OF_region (R > 0)
#define ASKED_pixels 1
#define ASKED_boundary 1
#define ASKED_boxes 1
#define ASKED_contours 1
#define ASKED_difficulty has_difficulty
#define ASKED_committee committee
#define DEAL_COLUMN(table, name, type, shape, part)                                  \
  if (ASKED_##part && OF_##table && !output.DEAL_FIELD(table, name)) {               \
    WANT(DEAL_FIELD(table, name), (size_t)(ROWS_##table) * (size_t)(COUNT_##shape)); \
  }
#include "columns.def"
  if (has_difficulty) {
    WANT(difficulty_grid, B * cells);
    WANT(difficulty_map, B * (size_t)(H * W));
  }
  if (one_in(rare)) output.class_map = block(B * (size_t)(H * W));
  if (one_in(30)) output.struct_size = (size_t)below((int64_t)sizeof output + 40);
  status = deal_enqueue(context, &input, one_in(500) ? NULL : &output, NULL);
  count(status);
  check(!(none && status == DEAL_OK), "what has no sizes is not scored");
  const deal_status finished = deal_finish(context);
  count(finished);
  if (one_in(50)) counters_case(context);
  if (status == DEAL_OK && finished == DEAL_OK && output.struct_size >= sizeof output &&
      input.struct_size >= sizeof input) {
    check_results(&output, &sizes, H * W);
  }
}

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s SEED COUNT\n", argv[0]);
    return 2;
  }
  const uint64_t seed = strtoull(argv[1], NULL, 10);
  const long count_of_cases = strtol(argv[2], NULL, 10);
  for (int i = 0; i < CONTEXTS; ++i) {
    deal_context_options options = {sizeof options};
    options.threads = i == 0 ? 2 : 1;
    if (deal_context_create(&options, &contexts[i]) != DEAL_OK) return 1;
  }
  for (long i = 0; i < count_of_cases; ++i) {
    state = seed + 0x632BE59BD9B4E019u * (uint64_t)i; /* a case does not depend on those before */
    if (getenv("FUZZ_TRACE")) fprintf(stderr, "case %ld\n", i);
    const int64_t kind = below(1000);
    if (kind < 2) {
      contexts_case();
    } else if (kind < 100) {
      components_case();
    } else if (kind < 400) {
      model_case();
    } else if (kind < 500) {
      resize_case();
    } else if (kind < 600) {
      k_center_case();
    } else if (kind < 700) {
      stream_case();
    } else {
      score_case();
    }
    free_blocks();
  }
  for (int i = 0; i < CONTEXTS; ++i) deal_context_destroy(contexts[i]);
  deal_context_destroy(NULL);
  printf("{\"cases\": %ld", count_of_cases);
  for (int i = 0; i < 6; ++i)
    printf(", \"%s\": %ld", deal_status_name((deal_status)i), statuses[i]);
  printf("}\n");
  return 0;
}
