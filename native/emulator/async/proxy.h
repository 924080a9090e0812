// Shared memory as the asynchronous proxy sees it: what TMA and WGMMA read and write, beside what ordinary
// code does.
//
// Ordinary writes reach the asynchronous proxy at a fence_proxy_async and not before (PTX manual, "Async
// proxy"). So a second copy of the block's shared memory holds what the proxy has seen; where an asynchronous
// operation meets bytes in which the two differ, a fence is missing. The other hazards are between operations
// in flight: they are kept for each 16 bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace elasticlm::emulator {

// The unit in which operations in flight are kept, and that the swizzle moves.
inline constexpr uint32_t kChunkBytes = 16;
// What bytes hold while a copy to them is in flight, and what shared memory holds in the beginning: a NaN in
// every floating-point type.
inline constexpr unsigned char kInFlightByte = 0xff;

// Offsets are of the shared window. Those of begin_* are checked; they run in the issuing thread, the others
// anywhere.
class AsyncProxy {
 public:
  // Of the current block.
  AsyncProxy();

  // Ordinary writes up to now are seen.
  void fence();

  // `bytes` a multiple of 16. Poisons them.
  void begin_write(uint32_t offset, uint32_t bytes, const char* operation);
  void end_write(uint32_t offset, const std::vector<unsigned char>& image, const std::string& operation);

  void begin_read(const std::vector<uint32_t>& chunks, const char* operation);
  void end_read(const std::vector<uint32_t>& chunks);
  // 16 bytes of a read that has begun, as they are now.
  const unsigned char* read(uint32_t chunk, const std::string& operation) const;

 private:
  uint32_t chunk_index(uint32_t offset, const char* operation) const;
  bool seen(uint32_t offset, uint32_t bytes) const;

  unsigned char* shared_;
  uint32_t first_offset_;
  std::vector<unsigned char> seen_;  // what asynchronous operations see
  std::vector<uint8_t> writes_;      // in flight, to each chunk
  std::vector<uint16_t> reads_;      // not yet waited for, of each chunk
};

}  // namespace elasticlm::emulator
