// Text of a file made safe to show: names in a checkpoint may hold anything, of any length.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace elasticlm {

// `text` in double quotes, at most about 80 characters, with everything but printable ASCII escaped.
std::string quoted(std::string_view text);

// "[2, 3]"; a long shape is cut short.
std::string shape_text(const std::vector<int64_t>& shape);

}  // namespace elasticlm
