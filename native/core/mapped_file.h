// A whole file mapped read-only: checkpoints and vector indexes. The only code that talks to the operating
// system's virtual memory.
#pragma once

#include <cstddef>
#include <string>

namespace elasticlm {

class MappedFile {
 public:
  MappedFile() = default;
  // Maps the regular file `path`. No descriptor stays open. The file may be renamed over or removed while
  // mapped, but must not be shortened in place: reading past its new end kills the process (POSIX raises
  // SIGBUS). Throws kFileNotFound; kFileUnreadable for a directory, a device, no permission, no descriptors,
  // or a file too large to address; kMemoryExhausted.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::byte* data() const { return data_; }  // null for an empty file
  size_t size() const { return size_; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace elasticlm
