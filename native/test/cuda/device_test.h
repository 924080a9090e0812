// Shared by the tests of GPU kernels: device memory that begins as poison, the element types on the host,
// what the device can run, and the bound that every kernel is held to.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "kernels/cuda/linear.h"
#include "test/kernel_support.h"

namespace elasticlm::test {

// Device memory of its own, 256-byte aligned. Every byte is 0xff at first: NaN as f32, f16 and bf16, -1 as an
// integer.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  explicit DeviceMemory(size_t bytes);
  ~DeviceMemory();
  DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  void upload(const void* source, size_t bytes);
  // After all work of the device has ended; its failure is the caller's.
  void download(void* target, size_t bytes) const;

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// `values` in device memory; at least one element is allocated.
template <typename T>
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    memory_.upload(values.data(), values.size() * sizeof(T));
  }
  explicit DeviceArray(size_t size) : size_(size), memory_((size + 1) * sizeof(T)) {}

  T* data() const { return static_cast<T*>(memory_.data()); }
  std::vector<T> values() const {
    std::vector<T> values(size_);
    memory_.download(values.data(), size_ * sizeof(T));
    return values;
  }

 private:
  size_t size_ = 0;
  DeviceMemory memory_;
};

// The value that `dtype` stores for `value`, and its bits.
float rounded(DType dtype, float value);
uint32_t element_bits(DType dtype, float value);
float element_value(DType dtype, uint32_t bits);
// A NaN that no arithmetic produces.
uint32_t poison_bits(DType dtype);
// Half of the distance of neighbouring values, relative: the largest error of one rounding.
double unit_roundoff(DType dtype);
// The element types of the fast kernels.
inline constexpr DType kHalfTypes[] = {DType::kF16, DType::kBF16};

// A matrix on the host as the device will see it: bits of `dtype`, poison wherever nothing was set, a guard
// row before and after, and guard columns from `columns` up to `ld`.
class HostMatrix {
 public:
  HostMatrix(DType dtype, int64_t rows, int64_t columns, int64_t ld);

  DType dtype() const { return dtype_; }
  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  int64_t ld() const { return ld_; }

  void set(int64_t row, int64_t column, float value) { bits_[at(row, column)] = element_bits(dtype_, value); }
  float get(int64_t row, int64_t column) const { return element_value(dtype_, bits(row, column)); }
  uint32_t bits(int64_t row, int64_t column) const { return bits_[at(row, column)]; }
  // Columns from `begin` up to `end` of a row.
  void fill(Random& random, int64_t row, int64_t begin, int64_t end, float deviation);

  // With the guards.
  DeviceMemory upload() const;
  void download(const DeviceMemory& memory);
  // As kernels are given it: the first row after the guard, no tensor maps.
  cuda::DeviceMatrix view(const DeviceMemory& memory) const;

  // All elements with the guards, in memory's order: what must not change is compared by its bits.
  const std::vector<uint32_t>& all_bits() const { return bits_; }
  // Of element (row, column) in all_bits().
  size_t at(int64_t row, int64_t column) const { return static_cast<size_t>((row + 1) * ld_ + column); }

 private:
  DType dtype_;
  int64_t rows_;
  int64_t columns_;
  int64_t ld_;
  std::vector<uint32_t> bits_;
};

// Of the device that tests run on: 90 for 9.0.
int compute_capability();
// A stream-less context for tests; the bounds are the caller's.
cuda::LaunchContext device_context();

// What was computed by a naive path (operands and every stored intermediate rounded to the element type, sums
// in f32), and in f64 from the same rounded operands.
struct DeviceTruth {
  std::vector<double> f64;
  std::vector<float> naive;
  std::vector<int64_t> shape;  // of both, for the coordinate that a failure prints
};

// Fails, naming the worst element, unless |actual - f64| <= 2 * the naive path's largest error + one rounding
// of the largest value, at every element. (The rounding is for results that the naive path hits exactly.)
void check_close(std::span<const float> actual, const DeviceTruth& truth, DType dtype,
                 const std::string& what);

}  // namespace elasticlm::test
