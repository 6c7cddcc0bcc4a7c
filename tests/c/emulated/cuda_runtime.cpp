#include "cuda_runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include <algorithm>
#include <memory>
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
  // Every other block runs its threads backwards: results must not depend on their order.
  const bool backwards = blockIdx.x % 2 == 1;
  for (bool running = true; running;) {
    running = progress = false;
    for (size_t i = 0; i < threads; ++i) {
      current = backwards ? threads - 1 - i : i;
      if (fibers[current].done) continue;
      running = true;
      threadIdx = dim3(static_cast<unsigned>(current), 0, 0);
      swapcontext(&scheduler, &fibers[current].context);
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
  for (unsigned y = 0; y < grid.y; ++y) {
    for (unsigned x = 0; x < grid.x; ++x) {
      blockIdx = dim3(x, y, 0);
      std::fill(memory, end, static_cast<char>(0xa5));
      run_block(block.x);
      const auto rubbish = [](char c) { return c == static_cast<char>(0xa5); };
      if (!std::all_of(memory + shared, end, rubbish)) stop("wrote beyond its shared memory");
    }
  }
}

}  // namespace emulated
