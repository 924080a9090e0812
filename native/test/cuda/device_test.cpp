#include "test/cuda/device_test.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "kernels/cuda/launch.h"

namespace elasticlm::test {

namespace {

size_t element_bytes(DType dtype) { return static_cast<size_t>(dtype_bytes(dtype)); }

int device_attribute(cudaDeviceAttr attribute) {
  int device = 0;
  int value = 0;
  cuda::check(cudaGetDevice(&device), "to find the current device");
  cuda::check(cudaDeviceGetAttribute(&value, attribute, device), "to read an attribute of the device");
  return value;
}

}  // namespace

DeviceMemory::DeviceMemory(size_t bytes) : bytes_(bytes) {
  cuda::check(cudaMalloc(&data_, bytes), "to allocate a test's memory");
  cuda::check(cudaMemset(data_, 0xff, bytes), "to poison a test's memory");
}

DeviceMemory::~DeviceMemory() {
  if (data_ != nullptr) cudaFree(data_);
}

void DeviceMemory::upload(const void* source, size_t bytes) {
  CHECK(bytes <= bytes_, "upload beyond the end of a test's memory");
  if (bytes > 0)
    cuda::check(cudaMemcpy(data_, source, bytes, cudaMemcpyHostToDevice), "to upload a test's data");
}

void DeviceMemory::download(void* target, size_t bytes) const {
  CHECK(bytes <= bytes_, "download beyond the end of a test's memory");
  cuda::check(cudaDeviceSynchronize(), "to run the kernels of a test");
  if (bytes > 0)
    cuda::check(cudaMemcpy(target, data_, bytes, cudaMemcpyDeviceToHost), "to download a test's result");
}

uint32_t element_bits(DType dtype, float value) {
  switch (dtype) {
    case DType::kF16:
      return f32_to_f16(value);
    case DType::kBF16:
      return f32_to_bf16(value);
    case DType::kF32:
      break;
  }
  return std::bit_cast<uint32_t>(value);
}

float element_value(DType dtype, uint32_t bits) {
  switch (dtype) {
    case DType::kF16:
      return f16_to_f32(static_cast<uint16_t>(bits));
    case DType::kBF16:
      return bf16_to_f32(static_cast<uint16_t>(bits));
    case DType::kF32:
      break;
  }
  return std::bit_cast<float>(bits);
}

float rounded(DType dtype, float value) { return element_value(dtype, element_bits(dtype, value)); }

uint32_t poison_bits(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return 0x7ead;
    case DType::kBF16:
      return 0x7fad;
    case DType::kF32:
      break;
  }
  return kPoisonBits;
}

double unit_roundoff(DType dtype) {
  return dtype == DType::kF32 ? kUnitRoundoff : dtype == DType::kF16 ? 0x1p-11 : 0x1p-8;
}

HostMatrix::HostMatrix(DType dtype, int64_t rows, int64_t columns, int64_t ld)
    : dtype_(dtype),
      rows_(rows),
      columns_(columns),
      ld_(ld),
      bits_(static_cast<size_t>((rows + 2) * ld), poison_bits(dtype)) {
  CHECK(columns <= ld && ld % 8 == 0, "a matrix of the tests needs ld >= columns, a multiple of 8");
}

void HostMatrix::fill(Random& random, int64_t row, int64_t begin, int64_t end, float deviation) {
  for (int64_t column = begin; column < end; ++column) set(row, column, random.normal(deviation));
}

DeviceMemory HostMatrix::upload() const {
  std::vector<unsigned char> bytes(bits_.size() * element_bytes(dtype_));
  for (size_t i = 0; i < bits_.size(); ++i) {
    std::memcpy(bytes.data() + i * element_bytes(dtype_), &bits_[i], element_bytes(dtype_));
  }
  DeviceMemory memory(bytes.size());
  memory.upload(bytes.data(), bytes.size());
  return memory;
}

void HostMatrix::download(const DeviceMemory& memory) {
  std::vector<unsigned char> bytes(bits_.size() * element_bytes(dtype_));
  memory.download(bytes.data(), bytes.size());
  std::fill(bits_.begin(), bits_.end(), 0u);
  for (size_t i = 0; i < bits_.size(); ++i) {
    std::memcpy(&bits_[i], bytes.data() + i * element_bytes(dtype_), element_bytes(dtype_));
  }
}

cuda::DeviceMatrix HostMatrix::view(const DeviceMemory& memory) const {
  cuda::DeviceMatrix matrix;
  matrix.data = static_cast<unsigned char*>(memory.data()) + static_cast<size_t>(ld_) * element_bytes(dtype_);
  matrix.rows = rows_;
  matrix.columns = columns_;
  matrix.ld = ld_;
  return matrix;
}

int compute_capability() {
  return 10 * device_attribute(cudaDevAttrComputeCapabilityMajor) +
         device_attribute(cudaDevAttrComputeCapabilityMinor);
}

cuda::LaunchContext device_context() {
  cuda::LaunchContext context;
  context.num_sms = device_attribute(cudaDevAttrMultiProcessorCount);
  return context;
}

void check_close(std::span<const float> actual, const DeviceTruth& truth, DType dtype,
                 const std::string& what) {
  CHECK(actual.size() == truth.f64.size() && actual.size() == truth.naive.size(),
        what + ": " + std::to_string(actual.size()) + " elements, expected " +
            std::to_string(truth.f64.size()));
  double naive = 0.0;
  double scale = 0.0;
  for (size_t i = 0; i < actual.size(); ++i) {
    naive = std::max(naive, std::abs(truth.naive[i] - truth.f64[i]));
    scale = std::max(scale, std::abs(truth.f64[i]));
  }
  const double tolerance = 2.0 * naive + unit_roundoff(dtype) * scale;
  double worst_error = 0.0;
  size_t worst = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double error = std::abs(actual[i] - truth.f64[i]);
    if (error <= worst_error) continue;  // false for NaN, which is the worst of all
    worst = i;
    worst_error = error;
    if (std::isnan(error)) break;
  }
  if (worst_error <= tolerance) return;
  std::string at;
  size_t rest = worst;
  for (size_t axis = truth.shape.size(); axis-- > 0;) {
    const size_t size = static_cast<size_t>(truth.shape[axis]);
    at = std::to_string(rest % size) + (at.empty() ? "" : ", ") + at;
    rest /= size;
  }
  char numbers[160];
  std::snprintf(numbers, sizeof(numbers), "received %.9g, expected %.9g, off by %.3g, tolerance %.3g",
                static_cast<double>(actual[worst]), truth.f64[worst], worst_error, tolerance);
  CHECK(false, what + ": worst at (" + at + "): " + numbers);
}

}  // namespace elasticlm::test
