// A strict reader of JSON, value by value and without a tree: deal/model/strict_json.py in C++. It
// refuses keys that occur twice, numbers that are not finite and values nested too deeply.
#pragma once

#include <stdint.h>

#include <set>
#include <string>
#include <string_view>

#include "abi/failure.h"

namespace deal {

class JsonReader {
 public:
  enum Kind { kNull, kFalse, kTrue, kNumber, kString, kArray, kObject };
  struct Number {
    double value;
    bool whole;       // written without a point and an exponent
    int64_t integer;  // if whole; the nearest there is
  };

  // Errors begin with `source`, which must outlive the reader.
  JsonReader(std::string_view text, const char* source) : text_(text), source_(source) {}

  Kind kind();  // of the value that comes next
  Number number();
  std::string string();
  void skip();
  void end();  // nothing may follow

  // Calls fn(key) for each member; it has to read or skip the value.
  template <class Fn>
  void object(Fn&& fn) {
    std::set<std::string> keys;
    open('{');
    for (bool first = true; more('}', first); first = false) {
      const std::string key = string_here();
      if (!keys.insert(key).second) refuse("a key occurs twice in one object");
      colon();
      fn(key);
    }
  }
  // Calls fn() for each item.
  template <class Fn>
  void array(Fn&& fn) {
    open('[');
    for (bool first = true; more(']', first); first = false) fn();
  }

  [[noreturn]] void refuse(const char* why) const {
    fail(DEAL_ERROR_INVALID_ARGUMENT, "%s is not JSON at byte %zu: %s", source_, at_, why);
  }

 private:
  void space();
  void open(char bracket);
  bool more(char bracket, bool first);
  void colon();
  bool take(char c);
  bool take(std::string_view word);
  std::string string_here();
  uint32_t escaped_unit();
  std::string_view number_here();

  std::string_view text_;
  const char* source_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace deal
