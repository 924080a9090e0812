#include "model/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "core/status.h"

namespace elasticlm {
namespace {

// Large enough that a write's fixed cost vanishes, small beside any model.
constexpr size_t kBufferBytes = size_t{1} << 20;

// Of this process: with the process id, no two writers of one file share a temporary name.
std::atomic<unsigned> next_temporary{0};

// Makes a rename in the file's directory durable. Some file systems cannot sync a directory; the rename
// stands anyway.
void sync_directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

}  // namespace

OutputFile::OutputFile(const std::string& path) : path_(path) {
  if (path.find('\0') != std::string::npos) {
    fail(ErrorCode::kFileUnwritable, {.expected = "a path",
                                      .subject = path.c_str(),
                                      .received = "one with a NUL character",
                                      .remedy = ""});
  }
  buffer_.reserve(kBufferBytes);
  do {  // a name may be left over from a process of the same id that was killed
    temporary_path_ = path + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(next_temporary++);
    descriptor_ = ::open(temporary_path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && (errno == EEXIST || errno == EINTR));
  if (descriptor_ < 0) fail_with_errno(errno);
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  remove_temporary();
}

void OutputFile::append(const void* data, size_t size) {
  const std::byte* const bytes = static_cast<const std::byte*>(data);
  if (size > kBufferBytes - buffer_.size()) flush();
  if (size >= kBufferBytes) {
    write_out(bytes, size);
  } else {
    buffer_.insert(buffer_.end(), bytes, bytes + size);
  }
}

void OutputFile::commit() {
  flush();
  if (::fsync(descriptor_) != 0) fail_with_errno(errno);
  const int descriptor = descriptor_;
  descriptor_ = -1;
  if (::close(descriptor) != 0) fail_with_errno(errno);
  if (std::rename(temporary_path_.c_str(), path_.c_str()) != 0) fail_with_errno(errno);
  temporary_path_.clear();
  sync_directory_of(path_);
}

void OutputFile::flush() {
  write_out(buffer_.data(), buffer_.size());
  buffer_.clear();
}

void OutputFile::write_out(const std::byte* data, size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(descriptor_, data, size);
    if (written < 0) {
      if (errno == EINTR) continue;
      fail_with_errno(errno);
    }
    data += written;
    size -= static_cast<size_t>(written);
  }
}

void OutputFile::remove_temporary() {
  if (!temporary_path_.empty()) ::unlink(temporary_path_.c_str());
}

void OutputFile::fail_with_errno(int error) const {
  fail(ErrorCode::kFileUnwritable, {.expected = "a file that can be written",
                                    .subject = path_,
                                    .received = std::generic_category().message(error),
                                    .remedy = error == ENOSPC ? "Free some space on the disk" : ""});
}

}  // namespace elasticlm
