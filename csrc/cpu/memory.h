// All working memory of a context in one block, carved up anew for every request.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <new>

#include "pixel/records.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace deal {

// Hands out aligned, padded arrays; with a NULL base it only counts.
class Carver {
 public:
  explicit Carver(char* base) : base_(base) {}

  // Under the address sanitizer what lies behind an array must not be touched, unless it and those
  // after it are read or written as one.
  void fence(bool on) { fenced_ = on; }

  template <class T>
  T* take(int64_t count) {
    T* const array = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    const size_t bytes = (static_cast<size_t>(count) + kPad) * sizeof(T);
    const size_t taken = (bytes + 63) / 64 * 64 + kFence;
#if defined(__SANITIZE_ADDRESS__)
    if (array != nullptr) {
      ASAN_UNPOISON_MEMORY_REGION(array, taken);
      if (fenced_) ASAN_POISON_MEMORY_REGION(base_ + used_ + bytes, taken - bytes);
    }
#endif
    used_ += taken;
    return array;
  }
  size_t used() const { return used_; }

 private:
#if defined(__SANITIZE_ADDRESS__)
  static constexpr size_t kFence = 64;
#else
  static constexpr size_t kFence = 0;
#endif

  char* base_;
  size_t used_ = 0;
  bool fenced_ = true;
};

class Block64 {
 public:
  Block64() = default;
  ~Block64() { free(data_); }
  Block64(const Block64&) = delete;
  Block64& operator=(const Block64&) = delete;

  char* data() const { return data_; }
  size_t size() const { return size_; }
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
