// Frames in, decisions out, and the memory in between.
#include "stream/stream.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include <algorithm>
#include <new>
#include <type_traits>

#include "pixel/logarithm.h"

namespace deal {

// SplitMix64 (Steele et al. 2014), as deal/selection/order.py has it.
uint64_t mixed(uint64_t value) {
  value += 0x9E3779B97F4A7C15;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
  return value ^ (value >> 31);
}

uint64_t name_hash(const char* id, size_t length) {
  uint64_t hash = mixed(length);
  for (size_t start = 0; start < length; start += 8) {
    uint64_t word = 0;
    for (size_t i = std::min<size_t>(length - start, 8); i-- > 0;) {
      word = word << 8 | static_cast<uint8_t>(id[start + i]);
    }
    hash = mixed(hash ^ word);
  }
  return hash;
}

namespace {

// The key of a draw without replacement: log-weight plus Gumbel noise, as stochastic.py has it.
double power_key(double score, double beta, uint64_t hash, uint64_t start) {
  const double weight = std::clamp(natural_log(score) * beta, -1e9, 1e9);
  const auto bits = static_cast<double>(mixed(hash ^ start) >> 12);
  return weight - natural_log(-natural_log((bits + 0.5) / 0x1p52));
}

int64_t floor_divide(int64_t value, int64_t by) { return value / by - (value % by < 0 ? 1 : 0); }

// The greatest thumbnail_difference within a number of grey levels, exactly.
int64_t limit_of(double levels) {
  constexpr double kUnits = DEAL_THUMBNAIL_BYTES * DEAL_THUMBNAIL_BYTES;
  const double product = levels * kUnits;
  const double whole = floor(product);
  const bool rounded_up = whole == product && fma(levels, kUnits, -product) < 0.0;
  return static_cast<int64_t>(whole) - (rounded_up ? 1 : 0);
}

}  // namespace

int64_t StreamArrays::divide(const StreamPlan& p, uintptr_t block) {
  uintptr_t at = block + (sizeof(Stream) + 15) / 16 * 16;
  const auto array = [&](auto** field, int64_t count) {
    *field = reinterpret_cast<std::remove_reference_t<decltype(*field)>>(at);
    at += (static_cast<uintptr_t>(count) * sizeof(**field) + 15) / 16 * 16;
  };
  const int64_t groups = p.timed ? p.options.groups : 0;
  array(&slots_, p.slots);
  array(&signatures_, p.near ? p.slots : 0);
  array(&blocks_, p.near ? p.slots : 0);
  array(&groups_, groups);
  array(&taken_, groups * p.taken);
  array(&windows_, p.windows ? p.table : 0);
  array(&ranked_list_, p.ranked_frames + 1);
  array(&near_list_, p.near ? p.ranked_frames + 1 : 0);
  array(&decided_, p.slots);
  array(&ready_, p.slots);
  array(&touched_, p.slots);
  array(&outbox_, p.slots + 1);
  return static_cast<int64_t>(at - block);
}

Stream::Stream(const StreamPlan& plan) : plan_(plan) {
  divide(plan_, reinterpret_cast<uintptr_t>(this));
  for (int64_t i = plan_.slots; i-- > 0;) {
    Slot* slot = new (&slots_[i]) Slot();
    slot->next = free_;
    free_ = static_cast<int32_t>(i);
  }
  if (plan_.timed) {
    for (int32_t i = 0; i < plan_.options.groups; ++i) new (&groups_[i]) Group();
  }
  if (plan_.windows) {
    for (int64_t i = 0; i < plan_.table; ++i) new (&windows_[i]) Window();
  }
  gumbel_start_ = mixed(plan_.options.seed);
  chance_start_ = mixed(plan_.options.seed ^ 0x73616d706c65);  // "sample": other hashes than draws
  near_limit_ = limit_of(plan_.options.near_threshold);
}

int32_t Stream::make(const deal_stream_frame& f, uint64_t arrival) {
  const int32_t slot = free_;
  Slot& s = slots_[slot];
  free_ = s.next;
  s = {};
  s.rank = {f.score, f.score, arrival};
  if (plan_.options.draw == DEAL_DRAW_POWER) {
    s.rank.key = power_key(f.score, plan_.options.beta, f.name_hash, gumbel_start_);
  }
  s.id = f.id;
  s.chance = mixed(f.name_hash ^ chance_start_);
  s.sequence = f.sequence;
  s.camera = f.camera;
  s.timestamp = f.timestamp_ns;
  s.bytes = f.bytes;
  s.window = plan_.windows ? floor_divide(f.timestamp_ns, plan_.options.window_ns) : 0;
  s.group = s.previous = s.next = s.older = s.newer = s.listed = -1;
  s.has_signature = plan_.near && f.signature != nullptr;
  if (s.has_signature) {
    memcpy(signatures_[slot], f.signature, DEAL_THUMBNAIL_BYTES);
    block_sums(f.signature, blocks_[slot]);
  }
  return slot;
}

void Stream::push(const deal_stream_frame& f) {
  told_ = telling_ = 0;
  ++counters_.pushed;
  const bool finite = fabs(f.score) <= DBL_MAX;
  if (!finite || (plan_.options.draw == DEAL_DRAW_POWER && f.score < 0.0)) {
    ++(finite ? counters_.negative : counters_.not_finite);
    Slot refused = {};
    refused.id = f.id;
    refused.rank = {f.score, f.score, arrivals_++};
    refused.timestamp = f.timestamp_ns;
    outbox_[telling_++] =
        decision_of(refused, DEAL_DROP, finite ? DEAL_WHY_NEGATIVE : DEAL_WHY_NOT_FINITE);
    return;
  }
  if (!plan_.timed) {
    const int32_t slot = make(f, arrivals_++);
    slots_[slot].released = true;
    offer(slot);
    touch(slot);
    tell();
    return;
  }
  int32_t index;
  Group& group = group_of(f, &index);
  if (group.started && f.timestamp_ns < group.now - plan_.look_ahead) {
    ++counters_.clock_steps;
    close(&group);
  }
  if (repeats(group, f)) {
    ++counters_.repeated;
    tell();
    return;
  }
  if (!group.started || f.timestamp_ns > group.now) group.now = f.timestamp_ns;
  group.started = true;
  const int32_t slot = make(f, arrivals_++);
  Slot& s = slots_[slot];
  s.group = index;
  s.undecided = true;
  s.older = newest_;
  (newest_ >= 0 ? slots_[newest_].newer : oldest_) = slot;
  newest_ = slot;
  ++pending_;
  link(slot, &group);
  within_limits();  // a late frame may lie in the context of a pick
  if (near_taken(group, s.timestamp)) {
    decide(slot, DEAL_WHY_GAP);
  } else {
    compare(slot);
  }
  decide_group(&group, false);
  settle(&group, false);
  while (pending_ > plan_.options.pending) decide_oldest();
  tell();
}

void Stream::end() {
  told_ = telling_ = 0;
  if (plan_.timed) {
    for (int32_t i = 0; i < plan_.options.groups; ++i) {
      if (groups_[i].used) close(&groups_[i]);
    }
  }
  tell();
}

// Hands what the gap has decided to the budgets, in the order of time.
void Stream::settle(Group* group, bool all) {
  std::sort(decided_, decided_ + decided_count_, [&](int32_t a, int32_t b) {
    const Slot &x = slots_[a], &y = slots_[b];
    return x.timestamp != y.timestamp ? x.timestamp < y.timestamp : x.rank.arrival < y.rank.arrival;
  });
  for (int64_t i = 0; i < decided_count_; ++i) {
    const int32_t slot = decided_[i];
    if (slots_[slot].why == 0) remember_taken(group, slots_[slot].timestamp);
    offer(slot);
    if (!plan_.context) {
      slots_[slot].released = true;
      leave_pending(slot);
    }
    touch(slot);
  }
  decided_count_ = 0;
  release(group, all);
}

void Stream::touch(int32_t slot) {
  if (slots_[slot].touched) return;
  slots_[slot].touched = true;
  touched_[touched_count_++] = slot;
}

int32_t Stream::part_of(const Slot& s) const {
  if (s.ranked) return DEAL_WHY_RANKED;
  if (s.random) return DEAL_WHY_RANDOM;
  return s.around > 0 ? DEAL_WHY_CONTEXT : 0;
}

deal_decision Stream::decision_of(const Slot& s, int32_t action, int32_t why) const {
  deal_decision d = {};
  d.id = s.id;
  d.arrival = s.rank.arrival;
  d.score = s.rank.score;
  d.key = s.rank.key;
  d.timestamp_ns = s.timestamp;
  d.action = action;
  d.why = why;
  d.waiting = s.undecided ? 1 : 0;
  d.sent = s.sent ? 1 : 0;
  return d;
}

// Writes what has changed to the outbox: first what goes, then what comes, each in order of time.
void Stream::tell() {
  std::sort(touched_, touched_ + touched_count_, [&](int32_t a, int32_t b) {
    const Slot &x = slots_[a], &y = slots_[b];
    return x.timestamp != y.timestamp ? x.timestamp < y.timestamp : x.rank.arrival < y.rank.arrival;
  });
  int64_t coming = 0;
  for (int64_t i = 0; i < touched_count_; ++i) {
    const int32_t slot = touched_[i];
    Slot& s = slots_[slot];
    s.touched = false;
    const int32_t part = part_of(s);
    if (part != 0) {
      if (part != s.part) touched_[coming++] = slot;
      continue;
    }
    if (s.part != 0) {
      const int32_t why = s.part == DEAL_WHY_CONTEXT ? s.part : s.why;
      outbox_[telling_++] = decision_of(s, DEAL_EVICT, why);
      kept_bytes_ -= s.bytes;
      s.part = 0;
    } else if (!s.undecided && s.released) {
      outbox_[telling_++] = decision_of(s, DEAL_DROP, s.why);
    } else {
      continue;
    }
    if (!s.undecided) drop(slot);
  }
  for (int64_t i = 0; i < coming; ++i) {
    Slot& s = slots_[touched_[i]];
    const int32_t part = part_of(s);
    if (s.part == 0) kept_bytes_ += s.bytes;
    s.part = static_cast<int8_t>(part);
    outbox_[telling_++] = decision_of(s, DEAL_KEEP, part);
  }
  touched_count_ = 0;
}

// Forgets a frame.
void Stream::drop(int32_t slot) {
  Slot& s = slots_[slot];
  if (!s.released) leave_pending(slot);
  unlink(slot);
  s = {};
  s.next = free_;
  free_ = slot;
}

int64_t Stream::take(deal_decision* decisions, int64_t room) {
  const int64_t count = std::min(room, telling_ - told_);
  for (int64_t i = 0; i < count; ++i) decisions[i] = outbox_[told_++];
  return count;
}

int64_t Stream::kept(deal_decision* decisions, int64_t room) const {
  int64_t count = 0;
  for (int64_t i = 0; i < plan_.slots; ++i) {
    if (slots_[i].part == 0) continue;
    if (count < room) decisions[count] = decision_of(slots_[i], DEAL_KEEP, slots_[i].part);
    ++count;
  }
  return count;
}

void Stream::count(deal_stream_counters* counters) const {
  *counters = counters_;
  counters->ranked = ranked_frames_;
  counters->random = random_frames_;
  counters->context = context_frames_;
  counters->waiting = pending_;
  counters->bytes = kept_bytes_;
}

bool Stream::best(deal_decision* decision) const {
  const Slot* best = nullptr;
  for (int64_t i = 0; i < ranked_frames_; ++i) {
    const Slot& s = slots_[ranked_list_[i]];
    if (!s.sent && (best == nullptr || s.rank.before(best->rank))) best = &s;
  }
  if (best != nullptr) *decision = decision_of(*best, DEAL_KEEP, DEAL_WHY_RANKED);
  return best != nullptr;
}

// What is pinned leaves the heaps, where the next to go is looked for, and counts on.
bool Stream::sent(uint64_t id) {
  for (int64_t i = 0; i < ranked_frames_; ++i) {
    const int32_t slot = ranked_list_[i];
    Slot& s = slots_[slot];
    if (s.id != id || s.sent) continue;
    s.sent = true;
    remove(kByRank, &by_rank_, slot);
    if (plan_.windows) remove(kByWindow, &window_of(s.window, false)->heap, slot);
    return true;
  }
  return false;
}

// Why a kept frame of an earlier run does not fit here; NULL if it does.
const char* Stream::restore_fault(const deal_stream_frame& f, const deal_decision& d) const {
  if (counters_.pushed > 0) return "frames were pushed already";
  if (!(fabs(f.score) <= DBL_MAX)) return "the score is not finite";
  if (plan_.options.draw == DEAL_DRAW_POWER && f.score < 0.0) return "the score is below 0";
  if (d.action != DEAL_KEEP) return nullptr;
  if (d.why < DEAL_WHY_RANKED || d.why > DEAL_WHY_CONTEXT) return "why is no part of a kept frame";
  if (d.why == DEAL_WHY_RANKED && ranked_frames_ >= plan_.ranked_frames) {
    return "more picks than max_frames: restore with the options of the earlier run";
  }
  if (d.why == DEAL_WHY_RANDOM && random_frames_ >= plan_.random_frames) {
    return "more random frames than the share: restore with the options of the earlier run";
  }
  // One slot stays for the first push.
  if (free_ < 0 || slots_[free_].next < 0) return "more frames than the options allow";
  return nullptr;
}

void Stream::restore(const deal_stream_frame& f, const deal_decision& d) {
  if (d.action != DEAL_KEEP) {
    if (d.why == DEAL_WHY_BYTES || d.why == DEAL_WHY_CONTEXT_FRAMES) {
      Rank rank = {f.score, f.score, d.arrival};
      if (plan_.options.draw == DEAL_DRAW_POWER) {
        rank.key = power_key(f.score, plan_.options.beta, f.name_hash, gumbel_start_);
      }
      raise_bar(rank, d.why);
    }
    arrivals_ = std::max(arrivals_, d.arrival + 1);
    return;
  }
  const int32_t slot = make(f, d.arrival);
  arrivals_ = std::max(arrivals_, d.arrival + 1);
  Slot& s = slots_[slot];
  s.released = true;
  s.part = static_cast<int8_t>(d.why);
  s.why = DEAL_WHY_FRAMES;
  kept_bytes_ += s.bytes;
  if (plan_.timed) {
    Group& group = group_of(f, &s.group);
    s.mature = true;
    link(slot, &group);
    if (d.why == DEAL_WHY_RANKED) remember_taken(&group, s.timestamp);
  }
  if (d.why == DEAL_WHY_RANKED) list(slot);
  if (d.why == DEAL_WHY_RANDOM) {
    insert(kByChance, &by_chance_, slot);
    s.random = true;
    ++random_frames_;
    random_bytes_ += s.bytes;
  }
  touch(slot);
  if (d.sent != 0 && s.ranked) sent(s.id);
}

}  // namespace deal
