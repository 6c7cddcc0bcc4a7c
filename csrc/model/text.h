// Texts of files that strangers wrote.
#pragma once

#include <stdint.h>

#include <string_view>

namespace deal {

// Whether the bytes are UTF-8: no overlong forms, no surrogates, nothing beyond U+10FFFF.
inline bool is_utf8(std::string_view text) {
  const auto at = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0; };
  for (size_t i = 0; i < text.size();) {
    const int lead = at(i), next = at(i + 1);
    int length = lead < 0x80                   ? 1
                 : lead >= 0xc2 && lead < 0xe0 ? 2
                 : lead >= 0xe0 && lead < 0xf0 ? 3
                 : lead >= 0xf0 && lead < 0xf5 ? 4
                                               : 0;
    if (length == 0) return false;
    for (int k = 1; k < length; ++k) {
      if ((at(i + static_cast<size_t>(k)) & 0xc0) != 0x80) return false;
    }
    if ((lead == 0xe0 && next < 0xa0) || (lead == 0xed && next > 0x9f) ||
        (lead == 0xf0 && next < 0x90) || (lead == 0xf4 && next > 0x8f)) {
      return false;
    }
    i += static_cast<size_t>(length);
  }
  return true;
}

}  // namespace deal
