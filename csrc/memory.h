// All working memory of a context in one block, carved up anew for every request.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <new>

#include "kernels.h"

namespace deal {

// Hands out aligned, padded arrays; with a NULL base it only counts.
class Carver {
 public:
  explicit Carver(char* base) : base_(base) {}

  template <class T>
  T* take(int64_t count) {
    T* const array = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    const size_t bytes = (static_cast<size_t>(count) + kPad) * sizeof(T);
    used_ += (bytes + 63) / 64 * 64;
    return array;
  }
  size_t used() const { return used_; }

 private:
  char* base_;
  size_t used_ = 0;
};

class Block64 {
 public:
  Block64() = default;
  ~Block64() { free(data_); }
  Block64(const Block64&) = delete;
  Block64& operator=(const Block64&) = delete;

  char* data() const { return data_; }
  // Grows, never shrinks; what was in it is lost. New memory is touched here, so that scoring
  // meets no page faults; what padding holds never matters.
  void grow(size_t size) {
    if (size <= size_) return;
    free(data_);
    size_ = 0;
    data_ = static_cast<char*>(aligned_alloc(64, (size + 63) / 64 * 64));
    if (data_ == nullptr) throw std::bad_alloc();
    size_ = size;
    memset(data_, 0, size);
  }

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace deal
