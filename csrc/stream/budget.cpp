// What is kept: near-duplicates, limits in total and per window, context, the random sample.
//
// Limits of frames keep the best of a laminar matroid (windows within the trip): add a frame, and
// let the worst of the innermost limit that is exceeded go. For any order of arrival the result is
// the same. A limit of bytes keeps the longest prefix of the order that fits: the best frame that
// had to go is a bar, and no frame behind it comes in any more.
#include <algorithm>

#include "cpu/thumbnail.h"
#include "stream/stream.h"

namespace deal {

bool Stream::worse(Heap heap, int32_t a, int32_t b) const {
  const Slot &x = slots_[a], &y = slots_[b];
  if (heap != kByChance) return y.rank.before(x.rank);
  return x.chance != y.chance ? x.chance < y.chance : x.rank.arrival > y.rank.arrival;
}

void Stream::insert(Heap heap, int32_t* root, int32_t slot) {
  const auto links = [&](int32_t i) -> HeapLinks& { return slots_[i].heap[heap]; };
  const auto above = [&](int32_t a, int32_t b) { return worse(heap, a, b); };
  *root = PairingHeap(links, above).inserted(*root, slot);
}

void Stream::remove(Heap heap, int32_t* root, int32_t slot) {
  const auto links = [&](int32_t i) -> HeapLinks& { return slots_[i].heap[heap]; };
  const auto above = [&](int32_t a, int32_t b) { return worse(heap, a, b); };
  *root = PairingHeap(links, above).removed(*root, slot);
}

// A frame that the gap has decided.
void Stream::offer(int32_t slot) {
  sample(slot);
  if (slots_[slot].why == 0) rank(slot);
}

void Stream::sample(int32_t slot) {
  if (plan_.random_frames == 0) return;
  Slot& s = slots_[slot];
  const auto comes_before = [&](const Rank& r) {  // key: unused; the chance in bits
    return s.chance != chance_bar_chance_ ? s.chance > chance_bar_chance_
                                          : s.rank.arrival < r.arrival;
  };
  if (chance_barred_ && !comes_before(chance_bar_)) return;
  if (random_frames_ == plan_.random_frames && worse(kByChance, slot, by_chance_)) return;
  insert(kByChance, &by_chance_, slot);
  s.random = true;
  ++random_frames_;
  random_bytes_ += s.bytes;
  while (random_frames_ > plan_.random_frames || random_bytes_ > plan_.random_bytes) {
    const bool frames = random_frames_ > plan_.random_frames;
    const int32_t worst = by_chance_;
    Slot& w = slots_[worst];
    remove(kByChance, &by_chance_, worst);
    w.random = false;
    --random_frames_;
    random_bytes_ -= w.bytes;
    if (!frames) {
      // The heap gives the worst first, so the last is the best that went.
      chance_barred_ = true;
      chance_bar_ = w.rank;
      chance_bar_chance_ = w.chance;
    }
    if (worst != slot && !w.ranked) w.why = frames ? DEAL_WHY_FRAMES : DEAL_WHY_BYTES;
    touch(worst);
  }
}

// Takes a frame into the picks if it belongs there.
void Stream::rank(int32_t slot) {
  Slot& s = slots_[slot];
  const auto refuse = [&](int32_t why) { s.why = static_cast<int8_t>(why); };
  if (barred_ && !s.rank.before(bar_)) return refuse(bar_why_);
  const bool full = ranked_frames_ >= plan_.ranked_frames;
  if (full && (by_rank_ < 0 || worse(kByRank, slot, by_rank_))) return refuse(DEAL_WHY_FRAMES);
  if (plan_.windows) {
    const Window* window = window_of(s.window, false);
    if (window != nullptr && window->barred && !s.rank.before(window->bar)) {
      return refuse(DEAL_WHY_WINDOW_BYTES);
    }
  }
  if (plan_.near && s.has_signature && !evict_duplicates(slot)) return refuse(DEAL_WHY_NEAR);
  list(slot);
  if (plan_.windows) {
    while (true) {
      Window* window = window_of(s.window, false);
      if (window == nullptr || window->heap < 0) break;
      const bool frames = window->frames > plan_.options.max_frames_per_window;
      if (!frames && window->bytes <= plan_.options.max_bytes_per_window) break;
      const int32_t worst = window->heap;
      if (!frames && (!window->barred || slots_[worst].rank.before(window->bar))) {
        window->barred = true;
        window->bar = slots_[worst].rank;
      }
      unrank(worst, frames ? DEAL_WHY_WINDOW_FRAMES : DEAL_WHY_WINDOW_BYTES);
    }
  }
  within_limits();
}

// Makes a frame a pick, whatever the limits.
void Stream::list(int32_t slot) {
  Slot& s = slots_[slot];
  s.ranked = true;
  s.listed = static_cast<int32_t>(ranked_frames_);
  ranked_list_[ranked_frames_++] = slot;
  if (s.around == 0) ranked_bytes_ += s.bytes;
  insert(kByRank, &by_rank_, slot);
  if (plan_.windows) {
    Window* window = window_of(s.window, true);
    ++window->frames;
    window->bytes += s.bytes;
    insert(kByWindow, &window->heap, slot);
  }
  add_context(slot, 1);
  touch(slot);
}

void Stream::unrank(int32_t slot, int32_t why) {
  Slot& s = slots_[slot];
  s.ranked = false;
  s.why = static_cast<int8_t>(why);
  const int32_t last = ranked_list_[--ranked_frames_];
  ranked_list_[s.listed] = last;
  slots_[last].listed = s.listed;
  s.listed = -1;
  if (s.around == 0) ranked_bytes_ -= s.bytes;
  remove(kByRank, &by_rank_, slot);
  if (plan_.windows) {
    Window* window = window_of(s.window, false);
    --window->frames;
    window->bytes -= s.bytes;
    remove(kByWindow, &window->heap, slot);
    if (window->frames == 0) forget_window(window);
  }
  add_context(slot, -1);
  touch(slot);
}

void Stream::within_limits() {
  while (by_rank_ >= 0) {
    int32_t why = 0;
    if (ranked_frames_ > plan_.ranked_frames) {
      why = DEAL_WHY_FRAMES;
    } else if (ranked_bytes_ > plan_.ranked_bytes) {
      why = DEAL_WHY_BYTES;
    } else if (context_frames_ > plan_.options.max_context_frames) {
      why = DEAL_WHY_CONTEXT_FRAMES;
    } else {
      return;
    }
    const int32_t worst = by_rank_;
    if (why != DEAL_WHY_FRAMES) raise_bar(slots_[worst].rank, why);
    unrank(worst, why);
  }
}

void Stream::raise_bar(const Rank& rank, int32_t why) {
  if (barred_ && !rank.before(bar_)) return;
  barred_ = true;
  bar_ = rank;
  bar_why_ = why;
}

// One more pick, or one less, for the frames around a pick.
void Stream::add_context(int32_t slot, int32_t step) {
  if (!plan_.context) return;
  const int64_t time = slots_[slot].timestamp;
  for (int32_t at = slots_[slot].previous;
       at >= 0 && time - slots_[at].timestamp <= plan_.options.context_before_ns;
       at = slots_[at].previous) {
    change_around(at, step);
  }
  for (int32_t at = slots_[slot].next;
       at >= 0 && slots_[at].timestamp - time <= plan_.options.context_after_ns;
       at = slots_[at].next) {
    change_around(at, step);
  }
}

void Stream::change_around(int32_t slot, int32_t step) {
  Slot& s = slots_[slot];
  const bool was = s.around > 0;
  s.around += step;
  const bool is = s.around > 0;
  if (was != is) {
    context_frames_ += is ? 1 : -1;
    if (!s.ranked) ranked_bytes_ += is ? s.bytes : -s.bytes;
  }
  touch(slot);
}

void block_sums(const uint8_t* signature, int32_t* sums) {
  constexpr int kPart = DEAL_THUMBNAIL_BYTES / kBlocks;
  int32_t total = 0;
  for (int b = 0; b < kBlocks; ++b) {
    sums[b] = 0;
    for (int i = 0; i < kPart; ++i) sums[b] += signature[b * kPart + i];
    total += sums[b];
  }
  for (int b = 0; b < kBlocks; ++b) sums[b] = DEAL_THUMBNAIL_BYTES * sums[b] - kPart * total;
}

static bool surely_apart(const int32_t* a, const int32_t* b, int64_t limit) {
  int32_t bound = 0;
  for (int i = 0; i < kBlocks; ++i) bound += a[i] < b[i] ? b[i] - a[i] : a[i] - b[i];
  return bound > limit;
}

// Evicts the picks that show the same as a frame; false if one of them is better or already sent.
bool Stream::evict_duplicates(int32_t slot) {
  const Slot& s = slots_[slot];
  const bool everywhere = plan_.options.near == DEAL_NEAR_ALL;
  int32_t found = 0;
  for (int64_t i = 0; i < ranked_frames_; ++i) {
    const int32_t other = ranked_list_[i];
    const Slot& o = slots_[other];
    if (!o.has_signature) continue;
    if (!everywhere && (o.sequence != s.sequence || o.camera != s.camera)) continue;
    if (surely_apart(blocks_[slot], blocks_[other], near_limit_)) continue;
    if (thumbnail_difference(signatures_[slot], signatures_[other]) > near_limit_) continue;
    if (o.sent || o.rank.before(s.rank)) return false;
    near_list_[found++] = other;
  }
  for (int32_t i = 0; i < found; ++i) unrank(near_list_[i], DEAL_WHY_NEAR);
  return true;
}

// ---- windows: a table with open addressing -----------------------------------------------------

Window* Stream::window_of(int64_t index, bool create) {
  const auto mask = static_cast<uint64_t>(plan_.table - 1);
  uint64_t at = mixed(static_cast<uint64_t>(index)) & mask;
  while (windows_[at].used && windows_[at].index != index) at = (at + 1) & mask;
  Window& window = windows_[at];
  if (!window.used) {
    if (!create) return nullptr;
    window = {};
    window.used = true;
    window.index = index;
    window.heap = -1;
  }
  return &window;
}

// Closes the hole, so that what was pushed behind it is still found.
void Stream::forget_window(Window* window) {
  const auto mask = static_cast<uint64_t>(plan_.table - 1);
  auto hole = static_cast<uint64_t>(window - windows_);
  for (uint64_t at = (hole + 1) & mask; windows_[at].used; at = (at + 1) & mask) {
    const uint64_t home = mixed(static_cast<uint64_t>(windows_[at].index)) & mask;
    if (((at - home) & mask) < ((at - hole) & mask)) continue;
    windows_[hole] = windows_[at];
    hole = at;
  }
  windows_[hole] = {};
}

}  // namespace deal
