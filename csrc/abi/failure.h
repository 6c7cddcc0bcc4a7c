// A refusal on its way to the caller: deal_c.cpp turns it into a status and a text.
#pragma once

#include <stdarg.h>
#include <stdio.h>

#include <stdexcept>

#include "abi/deal.h"

namespace deal {

struct Failure {
  deal_status status;
  char text[512];
};

// The device or its driver failed; the text says what to do.
struct DeviceError : std::runtime_error {
  using runtime_error::runtime_error;
};

[[noreturn]] __attribute__((format(printf, 2, 3))) inline void fail(deal_status status,
                                                                    const char* format, ...) {
  Failure failure = {status, ""};
  va_list values;
  va_start(values, format);
  vsnprintf(failure.text, sizeof failure.text, format, values);
  va_end(values);
  throw failure;
}

inline long long ll(int64_t value) { return static_cast<long long>(value); }

}  // namespace deal
