#include "emulator/async/box.h"

#include <cstring>

#include "emulator/async/layout.h"

namespace elasticlm::emulator {

std::vector<unsigned char> read_box(const TensorMapImage& map, int32_t column, int32_t row) {
  std::vector<unsigned char> image(map.box_bytes());
  const auto* matrix = reinterpret_cast<const unsigned char*>(map.address);
  const uint32_t row_bytes = map.box_columns * uint32_t{sizeof(uint16_t)};
  for (uint32_t r = 0; r < map.box_rows; ++r) {
    const int64_t from_row = int64_t{row} + r;
    if (from_row < 0 || from_row >= static_cast<int64_t>(map.rows)) continue;
    for (uint32_t c = 0; c < map.box_columns; ++c) {
      const int64_t from_column = int64_t{column} + c;
      if (from_column < 0 || from_column >= static_cast<int64_t>(map.columns)) continue;
      const auto from =
          static_cast<uint64_t>(from_row) * map.row_stride + static_cast<uint64_t>(from_column) * 2;
      std::memcpy(image.data() + swizzle_128(r * row_bytes + c * 2), matrix + from, sizeof(uint16_t));
    }
  }
  return image;
}

}  // namespace elasticlm::emulator
