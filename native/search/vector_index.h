// Nearest neighbours by dot product over all stored vectors: a memory-mapped index file, or vectors in
// memory.
//
// Vectors are stored in f32 or quantised to i8, a quarter of that: rotated (search/rotation.h), then w =
// scale
// * q with scale = max |w| / 127 of the vector and q in [-127, 127], stored as q + 128 in rows of whole cache
// lines.
//
// File: 64-byte header (little-endian: magic "ELMVIDX1", u32 dims, u32 precision (0 f32, 1 i8), u64 count,
// u64 ids_offset, u64 ids_bytes, zeros); at offset 64 [count, dims] f32, or [count, code_stride(dims)] codes
// and then [count] f32 scales; at ids_offset the document ids as one UTF-8 JSON array of `count` strings. The
// TypeScript side writes the file and reads the ids; native code maps the vectors.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/precision.h"
#include "core/thread_pool.h"
#include "kernels/kernel_table.h"

namespace elasticlm {

class VectorIndex {
 public:
  // Maps `path`; every header field is checked against the file's size. Throws kFileNotFound,
  // kFileUnreadable, kIndexInvalid.
  explicit VectorIndex(const std::string& path);
  // Copies [count, dims] vectors, or quantises them.
  VectorIndex(std::span<const float> vectors, int64_t dims, Precision precision = Precision::kF32);
  // The same of vectors that lie in several places, each of them whole, so that nobody has to join them.
  VectorIndex(std::span<const std::span<const float>> parts, int64_t dims, Precision precision);
  ~VectorIndex();

  int64_t dims() const;
  int64_t count() const;
  Precision precision() const;   // kF32 or kI8
  const float* vectors() const;  // [count, dims]; f32 only
  const uint8_t* codes() const;  // [count, code_stride(dims)]; i8 only
  const float* scales() const;   // [count]; i8 only
  int64_t bytes() const;         // of the vectors, codes and scales

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Quantises [count, dims] vectors as an i8 index stores them. codes: [count, code_stride(dims)]. A vector
// that is not finite gets the scale NaN, so that its scores are NaN as in f32.
void quantize_vectors(std::span<const float> vectors, int64_t dims, uint8_t* codes, float* scales);

// The k best documents of each query by the stored vectors (in i8 the queries are quantised too), best first;
// equal scores in rising document order. NaN scores come last.
struct SearchArgs {
  std::span<const float> queries;  // [Q, dims]
  int64_t top_k = 0;               // at most count() are found
  int32_t* documents = nullptr;    // [Q, min(top_k, count)]
  float* scores = nullptr;         // [Q, min(top_k, count)]
};

// From inside a job of `pool`. The result does not depend on the number of threads.
void search(const VectorIndex& index, const SearchArgs& args, const KernelTable& kernels, ThreadPool& pool,
            int worker_idx);

}  // namespace elasticlm
