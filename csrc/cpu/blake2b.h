// BLAKE2b (RFC 7693) without a key and with a digest of 8 bytes: what the random score is drawn by.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace deal {

class Blake2b {
 public:
  Blake2b();
  void update(const void* data, size_t size);
  uint64_t digest();  // once; little-endian

 private:
  void compress(bool last);

  uint64_t state_[8];
  uint64_t hashed_ = 0;
  uint8_t block_[128];
  size_t used_ = 0;
};

}  // namespace deal
