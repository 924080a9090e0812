#include "emulator/async/proxy.h"

#include <algorithm>
#include <cstring>

#include "emulator/thread.h"

namespace elasticlm::emulator {

AsyncProxy::AsyncProxy()
    : shared_(shared_memory()),
      first_offset_(shared_offset(shared_)),
      seen_(current_thread->block->shared_bytes, kInFlightByte),
      writes_(seen_.size() / kChunkBytes + 1),
      reads_(seen_.size() / kChunkBytes + 1) {}

void AsyncProxy::fence() { std::memcpy(seen_.data(), shared_, seen_.size()); }

uint32_t AsyncProxy::chunk_index(uint32_t offset, const char* operation) const {
  static_cast<void>(shared_pointer(offset, kChunkBytes, kChunkBytes, operation));
  return (offset - first_offset_) / kChunkBytes;
}

bool AsyncProxy::seen(uint32_t offset, uint32_t bytes) const {
  const uint32_t begin = offset - first_offset_;
  return std::memcmp(shared_ + begin, seen_.data() + begin, bytes) == 0;
}

void AsyncProxy::begin_write(uint32_t offset, uint32_t bytes, const char* operation) {
  for (uint32_t chunk = offset; chunk < offset + bytes; chunk += kChunkBytes) {
    const uint32_t i = chunk_index(chunk, operation);
    const auto fail_there = [&](const char* why) {
      fail(std::string(operation) + " to shared offset " + std::to_string(chunk) + ", " + why);
    };
    if (writes_[i] != 0) fail_there("to which another copy is in flight");
    if (reads_[i] != 0) fail_there("from which a WGMMA that nobody has waited for reads");
    if (!seen(chunk, kChunkBytes)) fail_there("which ordinary code wrote without a fence_proxy_async since");
    writes_[i] = 1;
  }
  const uint32_t begin = offset - first_offset_;
  std::memset(shared_ + begin, kInFlightByte, bytes);
  std::memset(seen_.data() + begin, kInFlightByte, bytes);
}

void AsyncProxy::end_write(uint32_t offset, const std::vector<unsigned char>& image,
                           const std::string& operation) {
  const uint32_t begin = offset - first_offset_;
  const auto poisoned = [](unsigned char byte) { return byte == kInFlightByte; };
  if (!std::all_of(shared_ + begin, shared_ + begin + image.size(), poisoned)) {
    fail(operation + ": ordinary code wrote to its destination while it was in flight");
  }
  std::memcpy(shared_ + begin, image.data(), image.size());
  std::memcpy(seen_.data() + begin, image.data(), image.size());
  std::fill_n(writes_.begin() + begin / kChunkBytes, image.size() / kChunkBytes, uint8_t{0});
}

void AsyncProxy::begin_read(const std::vector<uint32_t>& chunks, const char* operation) {
  for (const uint32_t chunk : chunks) {
    const uint32_t i = chunk_index(chunk, operation);
    if (writes_[i] != 0) {
      fail(std::string(operation) + " reads shared offset " + std::to_string(chunk) +
           ", to which a TMA copy is in flight");
    }
    ++reads_[i];
  }
}

void AsyncProxy::end_read(const std::vector<uint32_t>& chunks) {
  for (const uint32_t chunk : chunks) --reads_[(chunk - first_offset_) / kChunkBytes];
}

const unsigned char* AsyncProxy::read(uint32_t chunk, const std::string& operation) const {
  if (!seen(chunk, kChunkBytes)) {
    fail(
        operation + " reads shared offset " + std::to_string(chunk) +
        ", which ordinary code wrote without a fence_proxy_async since (or while the product was in flight)");
  }
  return shared_ + (chunk - first_offset_);
}

}  // namespace elasticlm::emulator
