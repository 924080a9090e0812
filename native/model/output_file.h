// A file that appears under its name only when it is complete.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace elasticlm {

// Writes to `<path>.tmp-<pid>-<n>` and renames it to `path` on commit. Destroyed without a commit, it removes
// what it wrote, and `path` keeps what it held. Every method throws kFileUnwritable with the system's reason
// (a full disk included).
class OutputFile {
 public:
  explicit OutputFile(const std::string& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void append(const void* data, size_t size);
  // Everything written reaches the disk before the name does.
  void commit();

 private:
  void flush();
  void write_out(const std::byte* data, size_t size);
  void remove_temporary();
  [[noreturn]] void fail_with_errno(int error) const;

  std::string path_;
  std::string temporary_path_;
  std::vector<std::byte> buffer_;
  int descriptor_ = -1;
};

}  // namespace elasticlm
