#include "model/printable.h"

#include <algorithm>

namespace elasticlm {

std::string quoted(std::string_view text) {
  constexpr size_t kMaxShown = 80;
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text.substr(0, kMaxShown)) {
    const unsigned char byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    } else {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  out += '"';
  if (text.size() > kMaxShown) out += " (of " + std::to_string(text.size()) + " bytes)";
  return out;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  constexpr size_t kMaxShown = 8;
  std::string out = "[";
  for (size_t i = 0; i < std::min(shape.size(), kMaxShown); ++i) {
    if (i > 0) out += ", ";
    out += std::to_string(shape[i]);
  }
  if (shape.size() > kMaxShown) out += ", and " + std::to_string(shape.size() - kMaxShown) + " more";
  return out + "]";
}

}  // namespace elasticlm
