// Exact nearest neighbours by dot product over stored vectors: a memory-mapped index file, or vectors in
// memory.
//
// File: 64-byte header (little-endian: magic "ELMVIDX1", u32 dims, u32 zero, u64 count, u64 ids_offset, u64
// ids_bytes, zeros), then [count, dims] f32 at offset 64, then at ids_offset the document ids as one UTF-8
// JSON array of `count` strings. The TypeScript side writes the file and reads the ids; native code maps the
// vectors.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/thread_pool.h"
#include "kernels/kernel_table.h"

namespace elasticlm {

class VectorIndex {
 public:
  // Maps `path`; every header field is checked against the file's size. Throws kFileNotFound,
  // kFileUnreadable, kIndexInvalid.
  explicit VectorIndex(const std::string& path);
  // Copies [count, dims] vectors.
  VectorIndex(std::span<const float> vectors, int64_t dims);
  ~VectorIndex();

  int64_t dims() const;
  int64_t count() const;
  const float* vectors() const;  // [count, dims]

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The k best documents of one query, best first; equal scores in rising document order. NaN scores come last.
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
