/* Every output that a request can ask for, in one block that tests compare. */
#ifndef DEAL_TESTS_ALL_OUTPUTS_H
#define DEAL_TESTS_ALL_OUTPUTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deal.h"

typedef struct table {
  size_t size;
  char* data;
} table;

/* Zeroed, so that outputs not written compare equal. */
static void* take(table* t, size_t size) {
  void* at = t->data == NULL ? NULL : t->data + t->size;
  t->size += (size + 63) / 64 * 64;
  return at;
}

static void place(table* t, const deal_input* input, const deal_sizes* s, deal_output* o) {
  const size_t image_row = (size_t)s->batch, image_levels = image_row * DEAL_HISTOGRAM_LEVELS;
  const size_t image_classes = image_row * (size_t)s->classes;
  const size_t region_row = image_row * (size_t)s->regions;
  const size_t pixels = image_row * (size_t)(input->raster_height * input->raster_width);
  const bool committee = input->logits->members > 1;
  t->size = 0;
#define OUT(field, count) o->field = take(t, (count) * sizeof *o->field)
#define DEAL_COLUMN(table, name, type, shape, part)   \
  if (committee || strcmp(#part, "committee") != 0) { \
    OUT(DEAL_FIELD(table, name), table##_##shape);    \
  }
#include "columns.def"
  OUT(nonfinite, image_row);
  OUT(difficulty_grid, image_row * (size_t)(s->grid_height * s->grid_width));
  OUT(difficulty_map, pixels), OUT(class_map, pixels);
#undef OUT
}

/* Everything that one thread of an instruction set makes of a request with a head; ends the program
 * where that fails. */
static table score_all(int isa, const deal_input* input) {
  deal_sizes sizes = {sizeof sizes};
  table t = {0};
  deal_output output = {sizeof output};
  deal_context_options options = {sizeof options};
  options.threads = 1;
  options.isa = isa;
  deal_context* context = NULL;
  deal_status status = deal_output_sizes(input, &sizes);
  place(&t, input, &sizes, &output);
  t.data = calloc(1, t.size);
  place(&t, input, &sizes, &output);
  if (status == DEAL_OK) status = deal_context_create(&options, &context);
  if (status == DEAL_OK) status = deal_enqueue(context, input, &output, NULL);
  if (status == DEAL_OK) status = deal_finish(context);
  if (status != DEAL_OK || *output.n_pixels == 0) {
    fprintf(stderr, "isa %d: %s\n", isa, deal_last_error());
    exit(1);
  }
  deal_context_destroy(context);
  return t;
}

static bool has_isa(int isa) {
  deal_context_options options = {sizeof options};
  options.isa = isa;
  options.threads = 1;
  deal_context* context = NULL;
  const bool found = deal_context_create(&options, &context) == DEAL_OK;
  deal_context_destroy(context);
  return found;
}

#endif
