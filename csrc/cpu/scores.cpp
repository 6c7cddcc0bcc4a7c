#include "cpu/scores.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <algorithm>

#include "abi/failure.h"
#include "cpu/blake2b.h"
#include "pixel/logarithm.h"

namespace deal {
namespace {

constexpr int64_t kLevels = DEAL_HISTOGRAM_LEVELS;

struct Name {
  const char* text;
  int32_t kind;
};
constexpr Name kNames[] = {
    {"ds", DEAL_DS_NONE},
    {"ds:none", DEAL_DS_NONE},
    {"ds:entropy", DEAL_DS_ENTROPY},
    {"ds:margin", DEAL_DS_MARGIN},
    {"ds:least-confidence", DEAL_DS_LEAST_CONFIDENCE},
    {"de", DEAL_DE},
    {"entropy", DEAL_ENTROPY},
    {"margin", DEAL_MARGIN},
    {"least-confidence", DEAL_LEAST_CONFIDENCE},
    {"ripu", DEAL_RIPU},
    {"random", DEAL_RANDOM},
    {"tail:difficulty", DEAL_TAIL_DIFFICULTY},
    {"tail:entropy", DEAL_TAIL_ENTROPY},
    {"balanced:difficulty", DEAL_BALANCED_DIFFICULTY},
    {"balanced:entropy", DEAL_BALANCED_ENTROPY},
    {"balanced:ds-entropy", DEAL_BALANCED_DS_ENTROPY},
    {"focus:difficulty", DEAL_FOCUS_DIFFICULTY},
    {"focus:entropy", DEAL_FOCUS_ENTROPY},
    {"focus:ds-entropy", DEAL_FOCUS_DS_ENTROPY},
    {"focus:pixels", DEAL_FOCUS_PIXELS},
    {"vote-entropy", DEAL_VOTE_ENTROPY},
    {"bald", DEAL_BALD},
    {"kl-to-mean", DEAL_KL_TO_MEAN},
    {"consensus-entropy", DEAL_CONSENSUS_ENTROPY},
};

// What a kind reads of the output, beside the options.
struct Needs {
  const void* column;
  const char* name;
};
#define DEAL_NEEDS(column) {o.column, #column}

Needs column_of(const deal_acquisition& a, const deal_output& o) {
  switch (a.kind) {
    case DEAL_DS_NONE:
      return DEAL_NEEDS(difficulty_mean);
    case DEAL_DS_ENTROPY:
      return DEAL_NEEDS(difficulty_weighted_entropy_mean);
    case DEAL_DS_MARGIN:
      return DEAL_NEEDS(difficulty_weighted_margin_mean);
    case DEAL_DS_LEAST_CONFIDENCE:
      return DEAL_NEEDS(difficulty_weighted_least_confidence_mean);
    case DEAL_DE:
      if (a.edges == DEAL_EDGES_FIXED) return DEAL_NEEDS(difficulty_hist);
      return DEAL_NEEDS(difficulty_hist_image);
    case DEAL_ENTROPY:
    case DEAL_RIPU:
      return DEAL_NEEDS(entropy_mean);
    case DEAL_MARGIN:
      return DEAL_NEEDS(margin_mean);
    case DEAL_LEAST_CONFIDENCE:
      return DEAL_NEEDS(least_confidence_mean);
    case DEAL_TAIL_DIFFICULTY:
      return DEAL_NEEDS(difficulty_hist);
    case DEAL_TAIL_ENTROPY:
      return DEAL_NEEDS(entropy_hist);
    case DEAL_BALANCED_DIFFICULTY:
    case DEAL_FOCUS_DIFFICULTY:
      return DEAL_NEEDS(class_difficulty_sum);
    case DEAL_BALANCED_ENTROPY:
    case DEAL_FOCUS_ENTROPY:
      return DEAL_NEEDS(class_entropy_sum);
    case DEAL_BALANCED_DS_ENTROPY:
    case DEAL_FOCUS_DS_ENTROPY:
      return DEAL_NEEDS(class_difficulty_weighted_entropy_sum);
    case DEAL_FOCUS_PIXELS:
      return DEAL_NEEDS(class_pixels);
    case DEAL_VOTE_ENTROPY:
      return DEAL_NEEDS(vote_entropy_mean);
    case DEAL_BALD:
    case DEAL_KL_TO_MEAN:
      return DEAL_NEEDS(mutual_information_mean);
    case DEAL_CONSENSUS_ENTROPY:
      return DEAL_NEEDS(consensus_entropy_mean);
    default:  // DEAL_RANDOM
      return {&a, ""};
  }
}

bool balanced(int32_t kind) {
  return kind >= DEAL_BALANCED_DIFFICULTY && kind <= DEAL_BALANCED_DS_ENTROPY;
}
bool focused(int32_t kind) { return kind >= DEAL_FOCUS_DIFFICULTY && kind <= DEAL_FOCUS_PIXELS; }

// Sums as NumPy sums a row of doubles, pairwise in blocks of at most 128 with eight partial sums
// each, so that scores have the bits of deal.acquisition_scores.
double pairwise_sum(const double* values, int64_t n) {
  if (n < 8) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; ++i) sum += values[i];
    return sum;
  }
  if (n > 128) {
    const int64_t half = n / 2 - n / 2 % 8;
    const double first = pairwise_sum(values, half);
    return first + pairwise_sum(values + half, n - half);
  }
  double part[8];
  for (int i = 0; i < 8; ++i) part[i] = values[i];
  int64_t i = 8;
  for (; i < n - n % 8; i += 8) {
    for (int j = 0; j < 8; ++j) part[j] += values[i + j];
  }
  double sum =
      ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
  for (; i < n; ++i) sum += values[i];
  return sum;
}

// A sum of at most 2^31 counts that cannot overflow: the double nearest to it, as if it were exact.
class Total {
 public:
  void add(int64_t count) {
    high_ += count >> 32;
    low_ += count & 0xFFFFFFFF;
  }
  double value() const { return static_cast<double>(high_) * 0x1p32 + static_cast<double>(low_); }

 private:
  int64_t high_ = 0, low_ = 0;
};

double total_of(const int64_t* counts, int64_t n) {
  Total total;
  for (int64_t i = 0; i < n; ++i) total.add(counts[i]);
  return total.value();
}

// Entropy in nats of the shares that the sums of n groups of counts have of all; NaN without any.
double entropy_of(const int64_t* counts, int64_t n, int64_t group) {
  const double total = total_of(counts, n * group);
  if (!(total > 0.0)) return static_cast<double>(NAN);
  double terms[DEAL_MAX_CLASSES];
  static_assert(DEAL_MAX_CLASSES >= kLevels, "terms holds either");
  for (int64_t i = 0; i < n; ++i) {
    const double count = total_of(counts + i * group, group), share = count / total;
    terms[i] = share * natural_log(count > 0.0 ? share : 1.0);
  }
  return fabs(pairwise_sum(terms, n));
}

// Mean of the largest share `tail` of the values, in levels: half a level, plus for each level the
// share of the counted pixels above it.
double tail_mean(const int64_t* histogram, double tail) {
  const double wanted = tail * total_of(histogram, kLevels);
  if (!(wanted > 0.0)) return static_cast<double>(NAN);
  double above[kLevels - 1];
  Total counted;
  for (int64_t level = kLevels - 1; level > 0; --level) {
    counted.add(histogram[level]);
    above[kLevels - 1 - level] = std::min(counted.value(), wanted);
  }
  return 0.5 + pairwise_sum(above, kLevels - 1) / wanted;
}

// ENet's class weight (Paszke et al. 2016, arXiv 1606.02147, section 5.1).
double class_weight(int64_t pixels, double total) {
  return 1.0 / natural_log(1.02 + static_cast<double>(pixels) / std::max(total, 1.0));
}

double class_score(const deal_acquisition& a, const deal_output& o, int64_t b) {
  const int64_t classes = a.classes;
  const double total = balanced(a.kind) ? total_of(a.totals, classes) : 0.0;
  const void* column = column_of(a, o).column;
  double terms[DEAL_MAX_CLASSES];
  for (int64_t c = 0; c < classes; ++c) {
    const int64_t at = b * classes + c;
    const double sum = a.kind == DEAL_FOCUS_PIXELS
                           ? static_cast<double>(static_cast<const int64_t*>(column)[at])
                           : static_cast<const double*>(column)[at];
    if (balanced(a.kind)) {
      terms[c] = sum * class_weight(a.totals[c], total);
    } else {
      terms[c] = a.focus[c] != 0 ? sum : 0.0;
    }
  }
  if (o.n_pixels[b] <= 0) return static_cast<double>(NAN);
  return pairwise_sum(terms, classes) / static_cast<double>(o.n_pixels[b]);
}

double random_score(int64_t seed, const char* id) {
  char prefix[24];
  const int length = snprintf(prefix, sizeof prefix, "%lld", static_cast<long long>(seed));
  Blake2b hash;
  hash.update(prefix, static_cast<size_t>(length) + 1);
  hash.update(id, strlen(id));
  return static_cast<double>(hash.digest() >> 11) * 0x1p-53;
}

}  // namespace

int32_t acquisition_kind(const char* name) {
  for (const Name& known : kNames) {
    if (strcmp(known.text, name) == 0) return known.kind;
  }
  return -1;
}

void check_acquisition(const deal_acquisition& a, const deal_output& o) {
  const auto refuse = [](const char* text) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "deal_acquisition: %s", text);
  };
  if (a.kind < 0 || a.kind > DEAL_CONSENSUS_ENTROPY) refuse("kind is no deal_acquisition_kind");
  if (a.kind == DEAL_DE) {
    if (a.levels < 2 || kLevels % a.levels != 0) refuse("levels has to divide 240 and be above 1");
    if (a.edges != DEAL_EDGES_IMAGE && a.edges != DEAL_EDGES_FIXED)
      refuse("edges is no deal_edges");
  }
  const bool tail = a.kind == DEAL_TAIL_DIFFICULTY || a.kind == DEAL_TAIL_ENTROPY;
  if (tail && !(a.tail > 0.0 && a.tail <= 1.0)) refuse("tail has to be above 0 and at most 1");
  const bool by_class = balanced(a.kind) || focused(a.kind);
  if ((by_class || a.kind == DEAL_TAIL_ENTROPY || a.kind == DEAL_RIPU) &&
      (a.classes < 1 || a.classes > DEAL_MAX_CLASSES)) {
    refuse("classes has to be the number of classes, 1 to 256");
  }
  if (focused(a.kind) && a.focus == nullptr) refuse("focus is NULL: mark the classes that count");
  if (balanced(a.kind) && a.totals == nullptr) refuse("totals is NULL: give the pool's pixels");
  for (int64_t c = 0; balanced(a.kind) && c < a.classes; ++c) {
    if (a.totals[c] < 0) refuse("totals holds a negative number of pixels");
  }
  if (a.kind == DEAL_RANDOM && a.ids == nullptr) refuse("ids is NULL: random scores hash them");
  const auto require = [](const void* column, const char* name) {
    if (column != nullptr) return;
    fail(DEAL_ERROR_INVALID_ARGUMENT, "the score reads %s, which is NULL in deal_output", name);
  };
  const Needs needs = column_of(a, o);
  require(needs.column, needs.name);
  if (by_class) require(o.n_pixels, "n_pixels");
  if (a.kind == DEAL_RIPU) require(o.class_pixels, "class_pixels");
}

double acquisition_score(const deal_acquisition& a, const deal_output& o, int64_t b) {
  if (balanced(a.kind) || focused(a.kind)) return class_score(a, o, b);
  switch (a.kind) {
    case DEAL_DE:
      return entropy_of(
          (a.edges == DEAL_EDGES_FIXED ? o.difficulty_hist : o.difficulty_hist_image) + b * kLevels,
          a.levels, kLevels / a.levels);
    case DEAL_RIPU:
      return entropy_of(o.class_pixels + b * a.classes, a.classes, 1) * o.entropy_mean[b];
    case DEAL_TAIL_DIFFICULTY:
      return tail_mean(o.difficulty_hist + b * kLevels, a.tail) / kLevels;
    case DEAL_TAIL_ENTROPY:
      return tail_mean(o.entropy_hist + b * kLevels, a.tail) *
             (natural_log(static_cast<double>(a.classes)) / kLevels);
    case DEAL_RANDOM:
      return random_score(a.seed, a.ids[b]);
    default:  // a stored mean
      return static_cast<const double*>(column_of(a, o).column)[b];
  }
}

}  // namespace deal
