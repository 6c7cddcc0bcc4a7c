#include "cpu/processor.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#include <stdint.h>
#endif

namespace deal {
namespace {

#if defined(__x86_64__) && defined(__GNUC__)
// What the processor has, as far as the system saves its registers. Not by __builtin_cpu_supports:
// the runtime of Zig's Clang, which compiles the wheels, answers every such question with no.
Processor look() {
  Processor found;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  constexpr uint32_t kBasic = bit_OSXSAVE | bit_AVX | bit_FMA;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kBasic) != kBasic) return found;
  uint32_t saved = 0;  // XCR0
  __asm__("xgetbv" : "=a"(saved), "=d"(d) : "c"(0));
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return found;
  constexpr uint32_t kYmm = 0x06, kZmm = 0xe6;  // SSE and AVX; and the three parts of AVX-512
  constexpr uint32_t kAvx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  found.avx2 = (saved & kYmm) == kYmm && (b & bit_AVX2) != 0;
  found.avx512 = found.avx2 && (saved & kZmm) == kZmm && (b & kAvx512) == kAvx512;
  return found;
}
#else
Processor look() { return {}; }
#endif

}  // namespace

const Processor& processor() {
  static const Processor found = look();
  return found;
}

}  // namespace deal
