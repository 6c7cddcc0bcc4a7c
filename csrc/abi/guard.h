// What lies between the C ABI and the code behind it: no exception crosses, and every failure
// leaves its text with the calling thread.
#pragma once

#include <stdio.h>

#include <new>
#include <stdexcept>

#include "abi/deal.h"
#include "abi/failure.h"

namespace deal {

extern thread_local char last_error[512];

template <class Fn>
deal_status guarded(Fn&& fn) {
  try {
    fn();
    return DEAL_OK;
  } catch (const Failure& failure) {
    snprintf(last_error, sizeof last_error, "%s", failure.text);
    return failure.status;
  } catch (const std::bad_alloc&) {
    snprintf(last_error, sizeof last_error, "out of memory");
    return DEAL_ERROR_OUT_OF_MEMORY;
  } catch (const DeviceError& error) {
    snprintf(last_error, sizeof last_error, "%s", error.what());
    return DEAL_ERROR_DEVICE;
  } catch (const std::invalid_argument& error) {
    snprintf(last_error, sizeof last_error, "%s", error.what());
    return DEAL_ERROR_INVALID_ARGUMENT;
  } catch (const std::exception& error) {
    snprintf(last_error, sizeof last_error, "%s", error.what());
    return DEAL_ERROR_INTERNAL;
  } catch (...) {
    snprintf(last_error, sizeof last_error, "unknown failure");
    return DEAL_ERROR_INTERNAL;
  }
}

}  // namespace deal
