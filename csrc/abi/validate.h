// Reads the caller's structs into a validated Request; refuses with a Failure.
#pragma once

#include <stddef.h>
#include <string.h>

#include "abi/deal.h"
#include "abi/failure.h"
#include "abi/request.h"

namespace deal {

// The caller's struct may be older (shorter) or newer (longer) than ours: fields it does not have
// are zero, fields we do not know are ignored.
template <class T>
T read_struct(const T* from, const char* name) {
  if (from == nullptr) fail(DEAL_ERROR_INVALID_ARGUMENT, "%s is NULL", name);
  if (from->struct_size < sizeof(size_t)) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "%s.struct_size is not set; set it to sizeof(%s)", name,
         name);
  }
  // Else half of a pointer would be read.
  if (from->struct_size % alignof(T) != 0) {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "%s.struct_size is %zu, which is no sizeof(%s)", name,
         from->struct_size, name);
  }
  T copy = {};
  memcpy(&copy, from, from->struct_size < sizeof copy ? from->struct_size : sizeof copy);
  return copy;
}

// A request with room for what it points to.
struct Resolved {
  Request request = {};
  deal_head head = {};
};

void resolve(const deal_input* input, Resolved* out);
// Ids beyond the count would be written outside the caller's buffers.
void check_segments(const Request& request);
void check_outputs(const Request& request, const deal_output& output);

}  // namespace deal
