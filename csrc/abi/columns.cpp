#include "abi/columns.h"

#include <stddef.h>

#include <type_traits>

namespace deal {
namespace {

#define DEAL_COLUMN(table, name, type, shape, part)                                    \
  static_assert(std::is_same_v<decltype(deal_output::DEAL_FIELD(table, name)), type*>, \
                #name " has another type in deal_output");
#include "abi/columns.def"

constexpr size_t kOffsets[] = {
#define DEAL_COLUMN(table, name, type, shape, part) offsetof(deal_output, DEAL_FIELD(table, name)),
#include "abi/columns.def"
};
constexpr size_t kColumns = sizeof kOffsets / sizeof *kOffsets;

constexpr bool rising() {
  for (size_t i = 1; i < kColumns; ++i) {
    if (kOffsets[i] <= kOffsets[i - 1]) return false;
  }
  return true;
}

static_assert(rising(), "columns.def and deal_output have different orders");
// Besides the columns: struct_size, nonfinite, difficulty_grid, difficulty_map and class_map.
static_assert(sizeof(deal_output) == sizeof(size_t) + (kColumns + 4) * sizeof(void*),
              "a field of deal_output is no column, or a column no field");

}  // namespace

bool asks_for(const deal_output& output, Part wanted) {
  bool asked = false;
#define DEAL_COLUMN(table, name, type, shape, part) \
  asked |= Part::part == wanted && output.DEAL_FIELD(table, name) != nullptr;
#include "abi/columns.def"
  return asked;
}

}  // namespace deal
