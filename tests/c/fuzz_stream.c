/*
 * A seeded fuzzer of the selector of streams, under sanitizers: build/fuzz_stream_sanitized SEED
 * COUNT. Its memory is an allocation of exactly the size that is told. After every push the limits
 * have to hold, and every frame has to end in one last decision.
 */
#include <inttypes.h>

#include "random_stream.h"

int main(int argc, char** argv) {
  const uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
  const uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000;
  uint64_t all = 0;
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t digest = 0;
    const char* fault = run_random_stream(seed * 0x9E3779B97F4A7C15u + i, &digest);
    if (fault != NULL) {
      fprintf(stderr, "seed %" PRIu64 ", case %" PRIu64 ": %s\n", seed, i, fault);
      return 1;
    }
    all = (all ^ digest) * 0x100000001b3u;
  }
  printf("{\"cases\": %" PRIu64 ", \"digest\": \"%016" PRIx64 "\"}\n", count, all);
  return 0;
}
