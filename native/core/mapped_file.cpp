#include "core/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <system_error>
#include <utility>

#include "core/status.h"

namespace elasticlm {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int value() const { return value_; }

 private:
  int value_;
};

[[noreturn]] void fail_with_errno(const std::string& path, int error) {
  const bool absent = error == ENOENT || error == ENOTDIR;
  const ErrorCode code = absent            ? ErrorCode::kFileNotFound
                         : error == ENOMEM ? ErrorCode::kMemoryExhausted
                                           : ErrorCode::kFileUnreadable;
  fail(code, {.expected = absent ? "a file" : "a file that can be read",
              .subject = path,
              .received = std::generic_category().message(error),
              .remedy = ""});
}

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  if (path.find('\0') != std::string::npos) {
    fail(ErrorCode::kFileNotFound, {.expected = "a file",
                                    .subject = path.c_str(),
                                    .received = "a path with a NUL character",
                                    .remedy = ""});
  }
  // Without O_NONBLOCK, opening a pipe would wait for its writer.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.value() < 0) fail_with_errno(path, errno);
  struct stat facts {};
  if (::fstat(file.value(), &facts) != 0) fail_with_errno(path, errno);
  if (!S_ISREG(facts.st_mode)) {
    fail(ErrorCode::kFileUnreadable,
         {.expected = "a regular file", .subject = path, .received = kind_of(facts.st_mode), .remedy = ""});
  }
  if (static_cast<uintmax_t>(facts.st_size) > std::numeric_limits<size_t>::max() / 2) {
    fail_with_errno(path, EFBIG);
  }
  const size_t size = static_cast<size_t>(facts.st_size);
  if (size == 0) return;  // mmap refuses empty ranges
  void* const address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.value(), 0);
  if (address == MAP_FAILED) fail_with_errno(path, errno);
  data_ = static_cast<const std::byte*>(address);
  size_ = size;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace elasticlm
