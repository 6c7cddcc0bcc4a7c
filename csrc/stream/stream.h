// The selector of a stream: gap (gap.cpp), then near-duplicates and budgets (budget.cpp), then what
// is told about it (stream.cpp). All of it lies in one block of the caller; arrays are of fixed
// size, and frames are numbered slots of them.
//
// The stages follow tests/oracle/stream.py, which does the same slowly and plainly.
#pragma once

#include <stdint.h>

#include "abi/deal_stream.h"
#include "stream/options.h"
#include "stream/pairing_heap.h"

namespace deal {

// A frame's place in the order.
struct Rank {
  double key, score;
  uint64_t arrival;

  bool before(const Rank& other) const {
    if (key != other.key) return key > other.key;
    if (score != other.score) return score > other.score;
    return arrival < other.arrival;
  }
};

enum Heap { kByRank, kByWindow, kByChance, kHeaps };

struct Slot {
  Rank rank;
  uint64_t id, chance, sequence;
  int64_t timestamp, bytes, window;
  HeapLinks heap[kHeaps];
  int32_t camera, group;
  int32_t previous, next;  // in the chain: by time, then by arrival
  int32_t older, newer;    // among those that wait, by arrival
  int32_t blockers;        // undecided frames within the gap that come before it
  int32_t around;          // ranked picks in whose context it lies
  int32_t listed;          // its place in ranked_, -1 outside
  int8_t part;             // what was told last: a deal_why, or 0 for not kept
  int8_t why;              // why it is not ranked
  bool undecided, mature, released, ranked, random, sent, touched, has_signature;
};

// The frames of one sequence and camera: a chain in which those still undecided are found.
struct Group {
  uint64_t sequence;
  int32_t camera;
  bool used, started;
  uint64_t last_push;
  int64_t now;
  int32_t tail;
  int32_t undecided, immature, unreleased;  // the first slots that may be
  int64_t taken, next_taken;                // how many times, and where the next one goes
};

struct Window {
  int64_t index, frames, bytes;
  int32_t heap;
  bool used, barred;
  Rank bar;
};

// Parts of a signature whose sums are compared first.
constexpr int kBlocks = 12;

// The arrays behind a stream in its block.
struct StreamArrays {
  Slot* slots_;
  uint8_t (*signatures_)[DEAL_THUMBNAIL_BYTES];
  int32_t (*blocks_)[kBlocks];  // of the signatures; see block_sums
  Group* groups_;
  int64_t* taken_;  // [groups][plan.taken]
  Window* windows_;
  int32_t *ranked_list_, *near_list_, *decided_, *ready_, *touched_;
  deal_decision* outbox_;

  // Points the arrays into a block and returns its size; the block need not exist.
  int64_t divide(const StreamPlan& plan, uintptr_t block);
};

class Stream : StreamArrays {
 public:
  explicit Stream(const StreamPlan& plan);

  void push(const deal_stream_frame& frame);
  void end();
  int64_t take(deal_decision* decisions, int64_t room);
  bool has_more() const { return told_ < telling_; }

  int64_t kept(deal_decision* decisions, int64_t room) const;
  void count(deal_stream_counters* counters) const;
  bool best(deal_decision* decision) const;
  bool sent(uint64_t id);
  const char* restore_fault(const deal_stream_frame& frame, const deal_decision& decision) const;
  void restore(const deal_stream_frame& frame, const deal_decision& decision);

 private:
  // stream.cpp
  int32_t make(const deal_stream_frame& frame, uint64_t arrival);
  void drop(int32_t slot);
  void settle(Group* group, bool all);
  void tell();
  deal_decision decision_of(const Slot& s, int32_t action, int32_t why) const;
  void touch(int32_t slot);
  int32_t part_of(const Slot& s) const;

  // gap.cpp
  Group& group_of(const deal_stream_frame& frame, int32_t* index);
  void close(Group* group);
  bool repeats(const Group& group, const deal_stream_frame& frame) const;
  void link(int32_t slot, Group* group);
  void unlink(int32_t slot);
  void compare(int32_t slot);
  bool near_taken(const Group& group, int64_t timestamp) const;
  void remember_taken(Group* group, int64_t timestamp);
  void decide_group(Group* group, bool all);
  int32_t first_undecided(Group* group) const;
  void decide_oldest();
  void run_ready();
  void decide(int32_t slot, int32_t why);
  void suppress(int32_t slot, int32_t why);
  void unblock(int32_t slot, int32_t left, int32_t right);
  void release(Group* group, bool all);
  void leave_pending(int32_t slot);

  // budget.cpp
  void offer(int32_t slot);
  void rank(int32_t slot);
  void unrank(int32_t slot, int32_t why);
  void list(int32_t slot);
  void within_limits();
  void add_context(int32_t slot, int32_t step);
  void change_around(int32_t slot, int32_t step);
  void sample(int32_t slot);
  bool evict_duplicates(int32_t slot);
  void raise_bar(const Rank& rank, int32_t why);
  Window* window_of(int64_t index, bool create);
  void forget_window(Window* window);

  bool worse(Heap heap, int32_t a, int32_t b) const;
  void insert(Heap heap, int32_t* root, int32_t slot);
  void remove(Heap heap, int32_t* root, int32_t slot);

  StreamPlan plan_;
  int32_t free_ = -1, oldest_ = -1, newest_ = -1, last_group_ = 0;
  int32_t by_rank_ = -1, by_chance_ = -1;  // the worst are at the roots
  int64_t pending_ = 0;
  int64_t ranked_frames_ = 0, ranked_bytes_ = 0;  // bytes with context
  int64_t context_frames_ = 0, random_frames_ = 0, random_bytes_ = 0, kept_bytes_ = 0;
  int64_t decided_count_ = 0, ready_count_ = 0, touched_count_ = 0, told_ = 0, telling_ = 0;
  bool barred_ = false, chance_barred_ = false;
  int32_t bar_why_ = 0;
  Rank bar_ = {}, chance_bar_ = {};
  uint64_t arrivals_ = 0, chance_bar_chance_ = 0, gumbel_start_, chance_start_;
  int64_t near_limit_;
  deal_stream_counters counters_ = {};
};

uint64_t mixed(uint64_t value);
// Sums of 12 parts of a signature without its mean, times 192. The L1 distance of two of them is a
// lower bound of thumbnail_difference, and rules out most pairs.
void block_sums(const uint8_t* signature, int32_t* sums);
uint64_t name_hash(const char* id, size_t length);

}  // namespace deal
