// The wire format of protocol buffers, as deal/model/wire.py reads it: exactly as Google's parser
// does, or not at all. https://protobuf.dev/programming-guides/encoding/
#pragma once

#include <stdint.h>

#include <string_view>

#include "abi/failure.h"

namespace deal {

enum Wire : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct WireField {
  uint32_t number, wire;
  uint64_t value;          // of kVarint
  std::string_view bytes;  // of the others
};

[[noreturn]] inline void no_model(const char* why) {
  fail(DEAL_ERROR_INVALID_ARGUMENT,
       "not an ONNX file, or truncated (%s): make one with deal export", why);
}

class WireReader {
 public:
  explicit WireReader(std::string_view message) : rest_(message) {}

  // Fails on what no writer writes: overlong tags, groups, field 0, numbers beyond 64 bits.
  bool next(WireField& field) {
    if (rest_.empty()) return false;
    const size_t before = rest_.size();
    const uint64_t tag = varint(5);
    const size_t taken = before - rest_.size();
    field = {static_cast<uint32_t>(tag >> 3), static_cast<uint32_t>(tag & 7), 0, {}};
    if (field.number == 0 || tag >> 32 != 0 || (taken > 1 && tag >> (7 * (taken - 1)) == 0)) {
      no_model("no tag of a protocol buffer");
    }
    if (field.wire == kVarint) {
      field.value = varint(10);
      return true;
    }
    uint64_t length = 0;
    if (field.wire == kBytes) {
      length = varint(5);
    } else if (field.wire == kFixed64 || field.wire == kFixed32) {
      length = field.wire == kFixed64 ? 8 : 4;
    } else {
      no_model("a group, or not a protocol buffer");
    }
    if (length > rest_.size() || length > INT32_MAX) no_model("a value is cut off");
    field.bytes = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return true;
  }

 private:
  uint64_t varint(int longest) {
    uint64_t value = 0;
    for (int i = 0; i < longest; ++i) {
      if (rest_.empty()) no_model("a number is cut off");
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      if (i == 9 && byte > 1) no_model("a number beyond 64 bits");
      value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
      if (byte < 0x80) return value;
    }
    no_model("a number of too many bytes");
  }

  std::string_view rest_;
};

// A field that must have this wire type: others would be skipped by protobuf, but not by everyone.
inline const WireField& typed(const WireField& field, Wire wire) {
  if (field.wire != wire) no_model("a field of another wire type");
  return field;
}

}  // namespace deal
