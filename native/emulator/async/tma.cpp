#include <cstring>
#include <string>

#include "emulator/async/async.h"
#include "emulator/async/box.h"
#include "emulator/async/layout.h"
#include "emulator/async/mbarriers.h"
#include "emulator/async/proxy.h"
#include "emulator/thread.h"

namespace elasticlm::emulator {
namespace {

TensorMapImage read_map(const cuda::TensorMap* map, const char* operation) {
  if (reinterpret_cast<uintptr_t>(map) % 64 != 0) {
    fail(std::string(operation) + ": the tensor map is not 64-byte aligned");
  }
  TensorMapImage image;
  std::memcpy(&image, map->words, sizeof(image));
  if (image.magic != kTensorMapMagic)
    fail(std::string(operation) + ": not a tensor map that make_tensor_map made");
  return image;
}

// Every byte that the box takes from the matrix lies in device memory.
void check_source(const TensorMapImage& map, int64_t column, int64_t row, const char* operation) {
  const int64_t first_column = std::max<int64_t>(column, 0);
  const int64_t end_column = std::min<int64_t>(column + map.box_columns, static_cast<int64_t>(map.columns));
  const int64_t end_row = std::min<int64_t>(row + map.box_rows, static_cast<int64_t>(map.rows));
  if (first_column >= end_column) return;
  for (int64_t r = std::max<int64_t>(row, 0); r < end_row; ++r) {
    const uint64_t address = map.address + static_cast<uint64_t>(r) * map.row_stride +
                             static_cast<uint64_t>(first_column) * sizeof(uint16_t);
    check_global(reinterpret_cast<const void*>(address),
                 static_cast<size_t>(end_column - first_column) * sizeof(uint16_t), sizeof(uint16_t),
                 operation);
  }
}

}  // namespace

void tma_load(uint32_t shared, const cuda::TensorMap* map, int32_t column, int32_t row, uint32_t barrier) {
  constexpr const char* kOperation = "tma_load";
  const TensorMapImage image = read_map(map, kOperation);
  // The hardware asks for 128 bytes; from any but a multiple of the pattern, box row r does not get the
  // swizzle of row r % 8.
  if (shared % kSwizzlePattern != 0) {
    fail(std::string(kOperation) + " to shared offset " + std::to_string(shared) +
         ", which is not a multiple of the swizzle's 1024 bytes");
  }
  check_source(image, column, row, kOperation);
  Mbarrier& object = block_state<Mbarriers>().at(barrier, kOperation);
  if (!object.fenced) {
    fail(std::string(kOperation) +
         ": its mbarrier was initialised without a mbarrier_init_fence by that thread");
  }
  AsyncProxy& proxy = block_state<AsyncProxy>();
  proxy.begin_write(shared, image.box_bytes(), kOperation);

  const std::string name = std::string(kOperation) + " to shared offset " + std::to_string(shared) +
                           " by thread " + std::to_string(current_thread->rank);
  begin_operation(Landing::kAnyTime, [=, &proxy, &object] {
    proxy.end_write(shared, read_box(image, column, row), name);
    check_mbarrier(object, name + ": completion");
    if (const char* fault = object.state.complete(image.box_bytes()); fault != nullptr)
      fail(name + ": " + fault);
  });
}

void tma_prefetch(const cuda::TensorMap* map) { static_cast<void>(read_map(map, "tma_prefetch")); }

void fence_proxy_async() { block_state<AsyncProxy>().fence(); }

}  // namespace elasticlm::emulator
