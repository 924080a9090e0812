#include "emulator/runtime_memory.h"

#include <cstring>
#include <map>
#include <new>

#include "emulator/runtime.h"
#include "emulator/runtime_stream.h"

namespace elasticlm::emulator {
namespace {

// As on hardware; also what vector accesses and TMA need.
constexpr std::align_val_t kAlignment{256};

// Every byte of fresh memory: as f32, f16 and bf16 a NaN, as an int -1.
constexpr int kPoison = 0xff;

struct Allocation {
  size_t bytes;
  int device;
};
// By address. Touched only under api_mutex(), which the call that runs kernels holds.
std::map<uintptr_t, Allocation> device_allocations;
std::map<uintptr_t, size_t> host_allocations;

size_t used_bytes(int device) {
  size_t sum = 0;
  for (const auto& [address, allocation] : device_allocations) {
    if (allocation.device == device) sum += allocation.bytes;
  }
  return sum;
}

void* allocate(size_t bytes) {
  void* memory = ::operator new(bytes, kAlignment);
  std::memset(memory, kPoison, bytes);
  return memory;
}

struct Copy {
  unsigned char* to;
  size_t to_pitch;
  const unsigned char* from;
  size_t from_pitch;
  size_t row_bytes;
  size_t num_rows;
};

size_t extent(size_t pitch, size_t row_bytes, size_t num_rows) { return (num_rows - 1) * pitch + row_bytes; }

cudaError_t check_copy(const Copy& copy, cudaMemcpyKind kind) {
  if (copy.to_pitch < copy.row_bytes || copy.from_pitch < copy.row_bytes) return cudaErrorInvalidValue;
  const size_t to_bytes = extent(copy.to_pitch, copy.row_bytes, copy.num_rows);
  const size_t from_bytes = extent(copy.from_pitch, copy.row_bytes, copy.num_rows);
  const bool to_device = is_device_memory(copy.to, to_bytes);
  const bool from_device = is_device_memory(copy.from, from_bytes);
  if (kind == cudaMemcpyDefault) return cudaSuccess;
  const bool to_wanted = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_wanted = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  return to_device == to_wanted && from_device == from_wanted ? cudaSuccess : cudaErrorInvalidValue;
}

void run_copy(const Copy& copy) {
  for (size_t row = 0; row < copy.num_rows; row++) {
    std::memcpy(copy.to + row * copy.to_pitch, copy.from + row * copy.from_pitch, copy.row_bytes);
  }
}

cudaError_t copy_rows(const Copy& copy, cudaMemcpyKind kind, cudaStream_t stream) {
  if (copy.row_bytes == 0 || copy.num_rows == 0) return cudaSuccess;
  const cudaError_t status = check_copy(copy, kind);
  if (status != cudaSuccess) return status;
  return enqueue(stream, {nullptr, [copy] { run_copy(copy); }});
}

// A copy that waits for its end.
cudaError_t copy_rows_now(const Copy& copy, cudaMemcpyKind kind) {
  const cudaError_t refused = refuse_in_capture();
  if (refused != cudaSuccess) return refused;
  const cudaError_t status = copy_rows(copy, kind, nullptr);
  if (status == cudaSuccess) run_until(find_stream(nullptr), find_stream(nullptr)->num_enqueued);
  return status;
}

Copy whole_copy(void* to, const void* from, size_t bytes) {
  return {static_cast<unsigned char*>(to), bytes, static_cast<const unsigned char*>(from), bytes, bytes, 1};
}

}  // namespace

bool is_device_memory(const void* pointer, size_t bytes) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  auto next = device_allocations.upper_bound(address);
  if (next == device_allocations.begin()) return false;
  const auto& [begin, allocation] = *--next;
  return address - begin <= allocation.bytes && bytes <= allocation.bytes - (address - begin);
}

}  // namespace elasticlm::emulator

using namespace elasticlm::emulator;

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  return api_call([&] {
    *pointer = nullptr;
    const cudaError_t refused = refuse_in_capture();
    if (refused != cudaSuccess || bytes == 0) return refused;
    const size_t used = used_bytes(current_device());
    if (used > settings().memory_bytes || bytes > settings().memory_bytes - used)
      return cudaErrorMemoryAllocation;
    *pointer = allocate(bytes);
    device_allocations[reinterpret_cast<uintptr_t>(*pointer)] = {bytes, current_device()};
    return cudaSuccess;
  });
}

cudaError_t cudaFree(void* pointer) {
  return api_call([&] {
    if (pointer == nullptr) return cudaSuccess;
    const cudaError_t refused = refuse_in_capture();
    if (refused != cudaSuccess) return refused;
    const auto found = device_allocations.find(reinterpret_cast<uintptr_t>(pointer));
    if (found == device_allocations.end()) return cudaErrorInvalidValue;
    const cudaError_t status = wait_to_release(run_all);
    device_allocations.erase(found);
    ::operator delete(pointer, kAlignment);
    return status;
  });
}

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
  return api_call([&] {
    *pointer = nullptr;
    if (bytes == 0) return cudaSuccess;
    *pointer = allocate(bytes);
    host_allocations[reinterpret_cast<uintptr_t>(*pointer)] = bytes;
    return cudaSuccess;
  });
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  return cudaHostAlloc(pointer, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void* pointer) {
  return api_call([&] {
    if (pointer == nullptr) return cudaSuccess;
    if (host_allocations.erase(reinterpret_cast<uintptr_t>(pointer)) == 0) return cudaErrorInvalidValue;
    const cudaError_t status = wait_to_release(run_all);
    ::operator delete(pointer, kAlignment);
    return status;
  });
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  return api_call([&] {
    const size_t used = used_bytes(current_device());
    *total_bytes = settings().memory_bytes;
    *free_bytes = used > settings().memory_bytes ? 0 : settings().memory_bytes - used;
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return api_call([&] { return copy_rows_now(whole_copy(to, from, bytes), kind); });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return api_call([&] { return copy_rows(whole_copy(to, from, bytes), kind, stream); });
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t row_bytes, size_t num_rows, cudaMemcpyKind kind, cudaStream_t stream) {
  return api_call([&] {
    return copy_rows({static_cast<unsigned char*>(to), to_pitch, static_cast<const unsigned char*>(from),
                      from_pitch, row_bytes, num_rows},
                     kind, stream);
  });
}

cudaError_t cudaMemcpy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t row_bytes,
                         size_t num_rows, cudaMemcpyKind kind) {
  return api_call([&] {
    return copy_rows_now({static_cast<unsigned char*>(to), to_pitch, static_cast<const unsigned char*>(from),
                          from_pitch, row_bytes, num_rows},
                         kind);
  });
}

cudaError_t cudaMemsetAsync(void* pointer, int value, size_t bytes, cudaStream_t stream) {
  return api_call([&] {
    if (bytes == 0) return cudaSuccess;
    if (!is_device_memory(pointer, bytes)) return cudaErrorInvalidValue;
    return enqueue(stream, {nullptr, [=] { std::memset(pointer, value, bytes); }});
  });
}

// Asynchronous towards the host, as CUDA documents for device memory.
cudaError_t cudaMemset(void* pointer, int value, size_t bytes) {
  return cudaMemsetAsync(pointer, value, bytes, nullptr);
}
