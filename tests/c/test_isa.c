/* Every instruction set of this build and processor gives the bits of the portable loops. Names of
 * instruction sets as arguments have to be among those tested. */
#include "all_outputs.h"

typedef struct shape {
  int members, classes, h, w, H, W, gh, gw, cell, attention, uncertainty;
} shape;

/* Odd sizes leave blocks of pixels and cells unfilled; 60x90 -> 61x97 shrinks windows to gathers.
 */
static const shape shapes[] = {
    {1, 11, 12, 16, 45, 61, 6, 8, 10, DEAL_ATTENTION_POLYNOMIAL},
    {1, 1, 12, 16, 45, 61, 25, 43, 10, DEAL_ATTENTION_POLYNOMIAL},
    {1, 2, 12, 16, 45, 61, 25, 43, 10, DEAL_ATTENTION_POLYNOMIAL, 1},
    {1, 3, 5, 6, 20, 21, 4, 5, 10, DEAL_ATTENTION_POLYNOMIAL},
    {1, 16, 5, 6, 20, 21, 13, 7, 10, DEAL_ATTENTION_POLYNOMIAL},
    {1, 11, 12, 16, 45, 61, 6, 8, 10, DEAL_ATTENTION_DIRECT},
    {1, 19, 17, 23, 17, 23, 0, 0, 4, DEAL_ATTENTION_AUTO},
    {1, 1, 5, 7, 20, 33, 0, 0, 6, DEAL_ATTENTION_AUTO},
    {1, 40, 60, 90, 31, 37, 9, 11, 8, DEAL_ATTENTION_DIRECT},
    {1, 3, 1, 1, 3, 2, 0, 0, 1, DEAL_ATTENTION_AUTO},
    {3, 7, 9, 14, 33, 50, 5, 6, 7, DEAL_ATTENTION_AUTO},
    {1, 9, 12, 16, 20, 31, 0, 0, 10, DEAL_ATTENTION_AUTO, 1},
};

static uint32_t state;
static float uniform(void) { /* -1...1 */
  state = state * 1664525u + 1013904223u;
  return (float)(state >> 8) / 8388608.0f - 1.0f;
}

static table score(int isa, const shape* s, deal_dtype dtype, int variant) {
  const int n = s->members * s->classes * s->h * s->w;
  float* wide = malloc((size_t)n * sizeof *wide);
  uint16_t* narrow = malloc((size_t)n * sizeof *narrow);
  state = 7;
  for (int i = 0; i < n; ++i) {
    wide[i] = uniform() * (i % 5 == 0 ? 40.0f : 4.0f);
    uint32_t bits;
    memcpy(&bits, wide + i, sizeof bits); /* as float16 these bits are a number, too */
    narrow[i] = (uint16_t)((bits >> 16) & (dtype == DEAL_FLOAT16 ? 0xcfffu : 0xffffu));
  }
  float weight[DEAL_MAX_CLASSES];
  for (int c = 0; c < s->classes; ++c) weight[c] = uniform();
  float uncertainty_weight[DEAL_MAX_CLASSES];
  for (int c = 0; c < s->classes; ++c) uncertainty_weight[c] = 3.0f * uniform();
  const size_t pixels = (size_t)(s->H * s->W);
  int32_t* map = malloc(pixels * sizeof *map);
  uint8_t* mask = malloc(pixels);
  for (size_t i = 0; i < pixels; ++i) {
    map[i] = (int32_t)(i / 3 % 9) - 1;
    mask[i] = uniform() > -0.5f;
  }
  deal_tensor logits = {sizeof logits, dtype == DEAL_FLOAT32 ? (void*)wide : (void*)narrow,
                        dtype,         DEAL_CPU,
                        s->members,    1,
                        s->classes,    s->h,
                        s->w,          {s->classes * s->h * s->w, n, s->h * s->w, s->w, 1}};
  deal_head head = {sizeof head, weight, s->classes, 0.8f, -0.4f, s->gh, s->gw, s->attention};
  if (s->uncertainty) head.uncertainty_weight = uncertainty_weight;
  deal_regions grid = {sizeof grid, DEAL_REGIONS_GRID, s->cell};
  deal_regions segments = {sizeof segments, DEAL_REGIONS_SEGMENTS, 0, map, 1, 8};
  deal_input input = {sizeof input, &logits, s->H, s->W, variant & 1, &head};
  input.regions = variant & 2 ? &segments : &grid;
  if (variant & 4) {
    input.mask = mask;
    input.mask_shared = 1;
  }
  const table t = score_all(isa, &input);
  free(wide), free(narrow), free(map), free(mask);
  return t;
}

int main(int count, char** names) {
  static const struct {
    int isa;
    const char* name;
  } sets[] = {{DEAL_ISA_AVX2, "avx2"}, {DEAL_ISA_AVX512, "avx512"}, {DEAL_ISA_NEON, "neon"}};
  int compared = 0, differ = 0, wanted = count - 1;
  for (size_t k = 0; k < sizeof sets / sizeof *sets; ++k) {
    if (!has_isa(sets[k].isa)) continue;
    for (int i = 1; i < count; ++i) wanted -= strcmp(names[i], sets[k].name) == 0;
    printf("%s ", sets[k].name);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) {
      for (int variant = 0; variant < 24; ++variant) {
        const deal_dtype dtype = (deal_dtype)(variant / 8);
        table one = score(DEAL_ISA_PORTABLE, shapes + i, dtype, variant % 8);
        table other = score(sets[k].isa, shapes + i, dtype, variant % 8);
        ++compared;
        if (one.size != other.size || memcmp(one.data, other.data, one.size) != 0) {
          size_t at = 0;
          while (one.data[at] == other.data[at]) ++at;
          fprintf(stderr, "%s: shape %zu, variant %d differ at byte %zu of %zu\n", sets[k].name, i,
                  variant, at, one.size);
          ++differ;
        }
        free(one.data), free(other.data);
      }
    }
  }
  printf("%d cases compared with portable, %d differ\n", compared, differ);
  if (wanted > 0) fprintf(stderr, "not every instruction set asked for is here\n");
  return differ != 0 || wanted > 0;
}
