// The gap: greedy non-maximum suppression in time, of one sequence and camera at a time.
//
// A frame is taken if no taken frame within the gap comes before it in the order. It is decided as
// soon as all frames within the gap that come before it are decided and no other can arrive, and
// at the end of the look-ahead anyway: then a better frame that is undecided suppresses it. Each
// frame counts its blockers, the undecided better frames within the gap; so all that a pair of
// frames costs is a comparison when the second arrives and one when the better is decided.
#include <initializer_list>

#include "stream/stream.h"

namespace deal {

Group& Stream::group_of(const deal_stream_frame& frame, int32_t* index) {
  const auto fits = [&](const Group& g) {
    return g.used && g.sequence == frame.sequence && g.camera == frame.camera;
  };
  if (!fits(groups_[last_group_])) {
    const int32_t count = plan_.options.groups;
    int32_t found = -1, best = -1;
    for (int32_t i = 0; i < count && found < 0; ++i) {
      if (fits(groups_[i])) found = i;
      // The first that is unused, else the one that was quiet for longest.
      const bool better =
          best < 0 || (groups_[best].used &&
                       (!groups_[i].used || groups_[i].last_push < groups_[best].last_push));
      if (better) best = i;
    }
    if (found < 0) {
      found = best;
      Group& g = groups_[found];
      if (g.used) {
        if (first_undecided(&g) >= 0) ++counters_.overflow;
        close(&g);
      }
      g = {};
      g.used = true;
      g.sequence = frame.sequence;
      g.camera = frame.camera;
      g.tail = g.undecided = g.immature = g.unreleased = -1;
    }
    last_group_ = found;
  }
  *index = last_group_;
  groups_[last_group_].last_push = arrivals_;
  return groups_[last_group_];
}

// Decides what waits; the group goes on with an empty chain.
void Stream::close(Group* group) {
  decide_group(group, true);
  settle(group, true);
  group->started = false;
  group->tail = group->undecided = group->immature = group->unreleased = -1;
}

bool Stream::repeats(const Group& group, const deal_stream_frame& frame) const {
  for (int32_t at = group.tail; at >= 0 && slots_[at].timestamp >= frame.timestamp_ns;
       at = slots_[at].previous) {
    if (slots_[at].timestamp == frame.timestamp_ns && slots_[at].id == frame.id) return true;
  }
  return false;
}

void Stream::link(int32_t slot, Group* group) {
  Slot& s = slots_[slot];
  int32_t after = group->tail;
  while (after >= 0 && slots_[after].timestamp > s.timestamp) after = slots_[after].previous;
  s.previous = after;
  if (after >= 0) {
    s.next = slots_[after].next;
    slots_[after].next = slot;
  } else {
    s.next = -1;
    // The first of its chain; the one behind it is found from the tail.
    for (int32_t at = group->tail; at >= 0; at = slots_[at].previous) s.next = at;
  }
  if (s.next >= 0) {
    slots_[s.next].previous = slot;
  } else {
    group->tail = slot;
  }
  for (int32_t* first : {&group->undecided, &group->immature, &group->unreleased}) {
    if (*first < 0 || slots_[*first].timestamp > s.timestamp) *first = slot;
  }
  // What was sent stays whatever happens, so nothing may join it beyond the limits.
  int32_t around = 0;
  for (int32_t at = s.previous;
       at >= 0 && s.timestamp - slots_[at].timestamp <= plan_.options.context_after_ns;
       at = slots_[at].previous) {
    around += slots_[at].ranked && !slots_[at].sent;
  }
  for (int32_t at = s.next;
       at >= 0 && slots_[at].timestamp - s.timestamp <= plan_.options.context_before_ns;
       at = slots_[at].next) {
    around += slots_[at].ranked && !slots_[at].sent;
  }
  if (plan_.context && around > 0) change_around(slot, around);
}

void Stream::unlink(int32_t slot) {
  const Slot& s = slots_[slot];
  if (s.group < 0) return;
  Group& group = groups_[s.group];
  // Of a chain that is over none of these is the slot.
  for (int32_t* first : {&group.undecided, &group.immature, &group.unreleased}) {
    if (*first == slot) *first = s.next;
  }
  if (group.tail == slot) group.tail = s.previous;
  if (s.previous >= 0) slots_[s.previous].next = s.next;
  if (s.next >= 0) slots_[s.next].previous = s.previous;
}

// Counts the blockers of a new frame, and it as a blocker of others.
void Stream::compare(int32_t slot) {
  Slot& s = slots_[slot];
  const int64_t gap = plan_.options.min_gap_ns;
  const auto with = [&](Slot& o) {
    if (o.undecided) ++(o.rank.before(s.rank) ? s : o).blockers;
  };
  for (int32_t at = s.previous; at >= 0 && s.timestamp - slots_[at].timestamp < gap;
       at = slots_[at].previous) {
    with(slots_[at]);
  }
  for (int32_t at = s.next; at >= 0 && slots_[at].timestamp - s.timestamp < gap;
       at = slots_[at].next) {
    with(slots_[at]);
  }
}

bool Stream::near_taken(const Group& group, int64_t timestamp) const {
  const int64_t* times = taken_ + (&group - groups_) * plan_.taken;
  for (int64_t i = 0; i < group.taken; ++i) {
    const int64_t apart = times[i] - timestamp;
    if ((apart < 0 ? -apart : apart) < plan_.options.min_gap_ns) return true;
  }
  return false;
}

void Stream::remember_taken(Group* group, int64_t timestamp) {
  if (plan_.taken == 0) return;
  taken_[(group - groups_) * plan_.taken + group->next_taken] = timestamp;
  group->next_taken = (group->next_taken + 1) % plan_.taken;
  if (group->taken < plan_.taken) ++group->taken;
}

// Decides the frames of a group whose time has come; `all`: as if no frame followed.
void Stream::decide_group(Group* group, bool all) {
  while (group->immature >= 0) {
    Slot& s = slots_[group->immature];
    if (!all && s.timestamp + plan_.mature > group->now) break;
    s.mature = true;
    if (s.undecided && s.blockers == 0) ready_[ready_count_++] = group->immature;
    group->immature = s.next;
  }
  run_ready();
  while (!all && first_undecided(group) >= 0) {
    if (slots_[group->undecided].timestamp + plan_.look_ahead > group->now) break;
    ++counters_.forced;
    suppress(group->undecided, DEAL_WHY_LOOK_AHEAD);
    run_ready();
  }
}

int32_t Stream::first_undecided(Group* group) const {
  while (group->undecided >= 0 && !slots_[group->undecided].undecided) {
    group->undecided = slots_[group->undecided].next;
  }
  return group->undecided;
}

void Stream::decide_oldest() {
  const int32_t slot = oldest_;
  Slot& s = slots_[slot];
  Group* group = &groups_[s.group];
  if (s.undecided) {
    ++counters_.overflow;
    if (s.blockers == 0) {
      ready_[ready_count_++] = slot;
    } else {
      suppress(slot, DEAL_WHY_LOOK_AHEAD);
    }
    run_ready();
    settle(group, false);
  }
  if (s.released) return;
  s.released = true;
  leave_pending(slot);
  touch(slot);
}

// Takes every frame whose blockers are decided, and whatever follows from it.
void Stream::run_ready() {
  const int64_t gap = plan_.options.min_gap_ns;
  while (ready_count_ > 0) {
    const int32_t slot = ready_[--ready_count_];
    if (!slots_[slot].undecided) continue;
    decide(slot, 0);
    // All others within the gap are suppressed, so only frames beyond it can be freed by them.
    const int64_t time = slots_[slot].timestamp, suppressed = decided_count_;
    int32_t left = slots_[slot].previous, right = slots_[slot].next;
    for (; left >= 0 && time - slots_[left].timestamp < gap; left = slots_[left].previous) {
      if (slots_[left].undecided) decide(left, DEAL_WHY_GAP);
    }
    for (; right >= 0 && slots_[right].timestamp - time < gap; right = slots_[right].next) {
      if (slots_[right].undecided) decide(right, DEAL_WHY_GAP);
    }
    for (int64_t i = suppressed; i < decided_count_; ++i) unblock(decided_[i], left, right);
  }
}

void Stream::decide(int32_t slot, int32_t why) {
  slots_[slot].undecided = false;
  slots_[slot].why = static_cast<int8_t>(why);
  decided_[decided_count_++] = slot;
}

void Stream::suppress(int32_t slot, int32_t why) {
  decide(slot, why);
  unblock(slot, slots_[slot].previous, slots_[slot].next);
}

// A frame is suppressed: it blocks no frame from `left` to the past and from `right` to the future.
void Stream::unblock(int32_t slot, int32_t left, int32_t right) {
  const int64_t time = slots_[slot].timestamp, gap = plan_.options.min_gap_ns;
  const Rank& rank = slots_[slot].rank;
  const auto free = [&](int32_t at) {
    Slot& o = slots_[at];
    if (!o.undecided || !rank.before(o.rank)) return;
    if (--o.blockers == 0 && o.mature) ready_[ready_count_++] = at;
  };
  for (; left >= 0 && time - slots_[left].timestamp < gap; left = slots_[left].previous) free(left);
  for (; right >= 0 && slots_[right].timestamp - time < gap; right = slots_[right].next) {
    free(right);
  }
}

// Lets go of decided frames that no pick to come can have in its context.
void Stream::release(Group* group, bool all) {
  if (!plan_.context) return;
  const int64_t before = plan_.options.context_before_ns;
  first_undecided(group);
  while (group->unreleased >= 0) {
    Slot& s = slots_[group->unreleased];
    if (s.undecided) return;
    const bool pick_may_come =
        s.timestamp + before >= group->now ||
        (group->undecided >= 0 && slots_[group->undecided].timestamp <= s.timestamp + before);
    if (!all && pick_may_come) return;
    if (!s.released) {
      s.released = true;
      leave_pending(group->unreleased);
      touch(group->unreleased);
    }
    group->unreleased = s.next;
  }
}

void Stream::leave_pending(int32_t slot) {
  Slot& s = slots_[slot];
  (s.older >= 0 ? slots_[s.older].newer : oldest_) = s.newer;
  (s.newer >= 0 ? slots_[s.newer].older : newest_) = s.older;
  s.older = s.newer = -1;
  --pending_;
}

}  // namespace deal
