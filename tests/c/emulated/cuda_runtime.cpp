#include "cuda_runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace {
constexpr size_t kShared = 48 * 1024;  // what every device grants without asking
constexpr size_t kStack = 128 * 1024;
}  // namespace

// As the kernels declare it; what lies beyond the size of a launch must stay as it is.
int64_t deal_block_memory[kShared / 8 + 64];

namespace emulated {

namespace {

[[noreturn]] void stop(const char* reason) {
  fprintf(stderr, "emulated kernel: %s (block %u, %u)\n", reason, blockIdx.x, blockIdx.y);
  abort();
}

// Threads that wait for each other; a generation ends when all of them have come.
struct Barrier {
  int members = 0, arrived = 0;
  unsigned generation = 0;
};

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStack]};
  bool done = true;
};

ucontext_t scheduler;
std::vector<Fiber> fibers;
size_t current = 0;
Barrier whole_block;
std::vector<Barrier> warps;
std::vector<uint64_t> brought[2];  // [threads], by the parity of the warp's generation
const std::function<void()>* body = nullptr;
bool progress = false;
std::mt19937 order(5);  // of blocks, of the warps of a block, of the lanes of a warp

// 0...n - 1 in a new order.
std::vector<size_t> shuffled(size_t n) {
  std::vector<size_t> all(n);
  std::iota(all.begin(), all.end(), size_t{0});
  std::shuffle(all.begin(), all.end(), order);
  return all;
}

void wait(Barrier& barrier) {
  const unsigned mine = barrier.generation;
  progress = true;
  if (++barrier.arrived == barrier.members) {
    barrier.arrived = 0;
    ++barrier.generation;
    return;
  }
  while (barrier.generation == mine) swapcontext(&fibers[current].context, &scheduler);
}

void leave(Barrier& barrier) {
  --barrier.members;
  if (barrier.members > 0 && barrier.arrived == barrier.members) {
    barrier.arrived = 0;
    ++barrier.generation;
  }
}

void fiber_main() {
  (*body)();
  fibers[current].done = true;
  progress = true;
  leave(whole_block);  // threads that have ended need not come; lanes of a warp need to
  swapcontext(&fibers[current].context, &scheduler);
}

void run_block(unsigned threads) {
  whole_block = {static_cast<int>(threads), 0, 0};
  warps.assign(threads / 32, {32, 0, 0});
  for (auto& values : brought) values.assign(threads, 0);
  for (size_t i = 0; i < threads; ++i) {
    Fiber& fiber = fibers[i];
    fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    makecontext(&fiber.context, fiber_main, 0);
  }
  // Now and then a warp pauses while others go on: results must not depend on who comes first.
  for (bool running = true; running;) {
    running = progress = false;
    for (const size_t warp : shuffled(threads / 32)) {
      if (order() % 4 == 0) {
        running = progress = true;
        continue;
      }
      for (const size_t lane : shuffled(32)) {
        current = warp * 32 + lane;
        if (fibers[current].done) continue;
        running = true;
        threadIdx = dim3(static_cast<unsigned>(current), 0, 0);
        swapcontext(&scheduler, &fibers[current].context);
      }
    }
    if (running && !progress) stop("a barrier that some threads do not reach");
  }
}

}  // namespace

void wait_for_block() { wait(whole_block); }

const uint64_t* exchange(uint64_t value) {
  Barrier& warp = warps[current / 32];
  uint64_t* values = brought[warp.generation % 2].data() + current / 32 * 32;
  values[current % 32] = value;
  wait(warp);
  return values;
}

void run(dim3 grid, dim3 block, size_t shared, const std::function<void()>& thread) {
  if (grid.x == 0 || grid.y == 0 || grid.y > 65535 || block.x % 32 != 0 || block.x > 1024) {
    stop("launch dimensions");
  }
  if (shared > kShared) stop("more shared memory than a block has");
  if (fibers.size() < block.x) fibers.resize(block.x);
  body = &thread;
  gridDim = grid;
  blockDim = block;
  char* memory = reinterpret_cast<char*>(deal_block_memory);
  char* const end = memory + sizeof deal_block_memory;
  for (const size_t i : shuffled(size_t{grid.x} * grid.y)) {
    blockIdx = dim3(static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x), 0);
    std::fill(memory, end, static_cast<char>(0xa5));
    run_block(block.x);
    const auto rubbish = [](char c) { return c == static_cast<char>(0xa5); };
    if (!std::all_of(memory + shared, end, rubbish)) stop("wrote beyond its shared memory");
  }
}

}  // namespace emulated
