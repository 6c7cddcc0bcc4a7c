// Which instruction sets of x86-64 this machine has.
#pragma once

namespace deal {

struct Processor {
  bool avx2 = false;    // and FMA
  bool avx512 = false;  // F, BW, DQ and VL
};

const Processor& processor();

}  // namespace deal
