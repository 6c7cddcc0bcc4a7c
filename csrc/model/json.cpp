#include "model/json.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>

#include <charconv>

namespace deal {
namespace {

constexpr int kDeepest = 64;        // levels of values, as deal/model/strict_json.py counts them
constexpr size_t kMostDigits = 40;  // of an integer; no value that deal reads is longer

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The nearest double, whatever locale the program has set.
double to_double(const std::string& text) {
  const locale_t plain = newlocale(LC_ALL_MASK, "C", nullptr);
  if (plain == nullptr) throw std::bad_alloc();
  const double value = strtod_l(text.c_str(), nullptr, plain);
  freelocale(plain);
  return value;
}

void append_utf8(std::string& to, uint32_t code) {
  const auto put = [&](uint32_t byte) { to.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
    return;
  }
  if (code < 0x800) {
    put(0xc0 | code >> 6);
  } else {
    if (code < 0x10000) {
      put(0xe0 | code >> 12);
    } else {
      put(0xf0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3f));
    }
    put(0x80 | (code >> 6 & 0x3f));
  }
  put(0x80 | (code & 0x3f));
}

}  // namespace

void JsonReader::space() {
  while (at_ < text_.size() &&
         (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
    ++at_;
  }
}

bool JsonReader::take(char c) {
  if (at_ >= text_.size() || text_[at_] != c) return false;
  ++at_;
  return true;
}

bool JsonReader::take(std::string_view word) {
  if (text_.substr(at_, word.size()) != word) return false;
  at_ += word.size();
  return true;
}

JsonReader::Kind JsonReader::kind() {
  space();
  if (depth_ >= kDeepest) refuse("lists and objects are nested more than 64 deep");
  const char c = at_ < text_.size() ? text_[at_] : '\0';
  switch (c) {
    case '{':
      return kObject;
    case '[':
      return kArray;
    case '"':
      return kString;
    case 'n':
      return kNull;
    case 't':
      return kTrue;
    case 'f':
      return kFalse;
    default:
      if (c == '-' || is_digit(c)) return kNumber;
      refuse("a value is expected");
  }
}

void JsonReader::open(char bracket) {
  kind();
  if (!take(bracket)) refuse("another kind of value is expected");
  ++depth_;
}

bool JsonReader::more(char bracket, bool first) {
  space();
  if (take(bracket)) {
    --depth_;
    return false;
  }
  if (!first && !take(',')) refuse("a comma or a closing bracket is expected");
  space();
  return true;
}

void JsonReader::colon() {
  space();
  if (!take(':')) refuse("a colon is expected");
}

std::string_view JsonReader::number_here() {
  const size_t begin = at_;
  const auto digits = [&] {
    const size_t from = at_;
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    return at_ > from;
  };
  take('-');
  if (!take('0') && !digits()) refuse("a number is expected");
  // What follows belongs to the number only if it is complete, or else is refused afterwards.
  size_t whole_end = at_;
  if (take('.') && !digits()) at_ = whole_end;
  whole_end = at_;
  if (take('e') || take('E')) {
    if (!take('+')) take('-');
    if (!digits()) at_ = whole_end;
  }
  return text_.substr(begin, at_ - begin);
}

JsonReader::Number JsonReader::number() {
  if (kind() != kNumber) refuse("a number is expected");
  const std::string text(number_here());
  Number found = {to_double(text), text.find_first_of(".eE") == text.npos, 0};
  if (found.whole && text.size() > kMostDigits) refuse("the number is too large");
  if (!isfinite(found.value)) refuse("the number is too large");
  constexpr double kMost = 9.2e18;
  if (found.whole && fabs(found.value) < kMost) {
    std::from_chars(text.data(), text.data() + text.size(), found.integer);
  } else if (found.whole) {
    found.integer = found.value > 0 ? INT64_MAX : INT64_MIN;
  }
  return found;
}

uint32_t JsonReader::escaped_unit() {
  uint32_t unit = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = at_ < text_.size() ? text_[at_++] : '\0';
    const int digit = is_digit(c)            ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) refuse("\\u needs four hexadecimal digits");
    unit = unit * 16 + static_cast<uint32_t>(digit);
  }
  return unit;
}

std::string JsonReader::string_here() {
  if (!take('"')) refuse("a string is expected");
  std::string found;
  while (!take('"')) {
    if (at_ >= text_.size()) refuse("a string does not end");
    const char c = text_[at_++];
    if (static_cast<unsigned char>(c) < 0x20) refuse("a control character in a string");
    if (c != '\\') {
      found.push_back(c);
      continue;
    }
    const char escape = at_ < text_.size() ? text_[at_++] : '\0';
    constexpr std::string_view kEscapes = "\"\\/bfnrt", kMeant = "\"\\/\b\f\n\r\t";
    if (const size_t which = kEscapes.find(escape); which != kEscapes.npos) {
      found.push_back(kMeant[which]);
    } else if (escape == 'u') {
      uint32_t code = escaped_unit();
      if (code >= 0xd800 && code < 0xdc00 && text_.substr(at_, 2) == "\\u") {
        const size_t before = at_;
        at_ += 2;
        const uint32_t low = escaped_unit();
        if (low >= 0xdc00 && low < 0xe000) {
          code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        } else {
          at_ = before;
        }
      }
      append_utf8(found, code);
    } else {
      refuse("no such escape");
    }
  }
  return found;
}

std::string JsonReader::string() {
  if (kind() != kString) refuse("a string is expected");
  return string_here();
}

void JsonReader::skip() {
  switch (kind()) {
    case kNull:
      if (!take("null")) refuse("null is expected");
      return;
    case kTrue:
      if (!take("true")) refuse("true is expected");
      return;
    case kFalse:
      if (!take("false")) refuse("false is expected");
      return;
    case kNumber:
      number();
      return;
    case kString:
      string_here();
      return;
    case kArray:
      array([&] { skip(); });
      return;
    case kObject:
      object([&](const std::string&) { skip(); });
      return;
  }
}

void JsonReader::end() {
  space();
  if (at_ != text_.size()) refuse("something follows the value");
}

}  // namespace deal
