/* A chain of dependent additions, one a cycle: its time is the clock of the core it ran on. Built
 * as a library for bench/clock.py.
 *
 * The addend is in a register, since some cores add constants without taking a cycle; the empty
 * assembly keeps the compiler from adding up several at once.
 */
#include <stdint.h>

#define ADD      \
  sum += addend; \
  __asm__ volatile("" : "+r"(sum), "+r"(addend));
#define ADD_4 ADD ADD ADD ADD
#define ADD_16 ADD_4 ADD_4 ADD_4 ADD_4

/* 64 additions a round; the loop itself runs beside them. */
uint64_t additions(int64_t rounds, uint64_t addend) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < rounds; ++i) {
    ADD_16 ADD_16 ADD_16 ADD_16
  }
  return sum;
}
