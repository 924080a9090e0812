// safetensors_fuzz CASES SEED: damages valid headers and files in every way a hostile or broken checkpoint
// could, and reads them. The only allowed outcomes are a coded error and a file all of whose tensors can be
// read to the last byte; run it under AddressSanitizer and UBSan. A case that runs too long ends the program
// with its number.
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core/status.h"
#include "model/safetensors.h"
#include "model/weights.h"
#include "test/checkpoint_files.h"

namespace elasticlm::test {
namespace {

using Random = std::mt19937_64;

constexpr size_t kLengthBytes = 8;

// What any single case may take. A case is some kilobytes; a second already means a loop.
constexpr auto kCaseLimit = std::chrono::seconds(10);

size_t below(Random& random, size_t limit) { return limit == 0 ? 0 : static_cast<size_t>(random() % limit); }

template <typename T>
const T& pick(Random& random, const std::vector<T>& items) {
  return items[below(random, items.size())];
}

// Pieces that matter to a JSON reader or to the format's rules.
const std::vector<std::string>& dictionary() {
  static const std::vector<std::string> tokens = {
      "{",
      "}",
      "[",
      "]",
      ":",
      ",",
      "\"",
      "\\",
      "\\u0000",
      "\\ud83d\\ude00",
      "\\ud800",
      "\\udfff",
      "\\x",
      " ",
      "\n",
      "\t",
      "null",
      "true",
      "-1",
      "-0",
      "0",
      "00",
      "1e3",
      "1.0",
      "4294967296",
      "9007199254740993",
      "9223372036854775807",
      "9223372036854775808",
      "18446744073709551615",
      "99999999999999999999999",
      "\"dtype\"",
      "\"shape\"",
      "\"data_offsets\"",
      "\"__metadata__\"",
      "\"F32\"",
      "\"F16\"",
      "\"BF16\"",
      "\"I64\"",
      "\"F4\"",
      "\"BOOL\"",
      "\"F33\"",
      "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}",
      "[0,0]",
      "[]",
      "{}",
      "[[[[[[[[",
      "{\"a\":{\"a\":",
      "\xc3\xa9",
      "\xf0\x9f\x98\x80",
      "\xc0\x80",
      "\xed\xa0\x80",
      "\xe2",
      "\xf0\x9f",
      "\xff",
      std::string(1, '\0'),
      "classifier.weight",
      "bert.",
      "LayerNorm.gamma"};
  return tokens;
}

// A number that stands in `text`, replaced by a neighbour, a bound, or another number of the text.
void edit_number(std::string& text, Random& random) {
  std::vector<size_t> starts;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](size_t at) { return text[at] >= '0' && text[at] <= '9'; };
    if (digit(i) && (i == 0 || !digit(i - 1))) starts.push_back(i);
  }
  if (starts.empty()) return;
  const auto length_at = [&](size_t start) {
    size_t end = start;
    while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
    return end - start;
  };
  const size_t start = pick(random, starts);
  const uint64_t value = std::strtoull(text.c_str() + start, nullptr, 10);
  const size_t other = pick(random, starts);
  const std::vector<std::string> replacements = {std::to_string(value + 1),
                                                 std::to_string(value - 1),
                                                 std::to_string(value * 2),
                                                 std::to_string(value << 31),
                                                 std::to_string(random() >> below(random, 64)),
                                                 text.substr(other, length_at(other)),
                                                 "0",
                                                 "4611686018427387904",
                                                 "9223372036854775807"};
  text.replace(start, length_at(start), pick(random, replacements));
}

void flip_byte(std::string& text, Random& random) {
  if (text.empty()) return;
  char& byte = text[below(random, text.size())];
  byte = static_cast<char>(random() % 2 ? byte ^ (1 << random() % 8) : random());
}

// Another place's piece of the text, copied over or into this place.
void splice(std::string& text, Random& random) {
  const size_t from = below(random, text.size());
  const std::string piece = text.substr(from, below(random, 80));
  const size_t to = below(random, text.size() + 1);
  text.replace(to, random() % 2 ? piece.size() : 0, piece);
}

void mutate(std::string& text, Random& random) {
  const size_t rounds = 1 + below(random, 4);
  for (size_t round = 0; round < rounds; ++round) {
    switch (below(random, 8)) {
      case 0:
        flip_byte(text, random);
        break;
      case 1:
        text.insert(below(random, text.size() + 1), pick(random, dictionary()));
        break;
      case 2:
        text.resize(below(random, text.size() + 1));
        if (random() % 2) text += pick(random, dictionary());
        break;
      case 3:
        text.erase(below(random, text.size()), below(random, 40));
        break;
      case 4:
        splice(text, random);
        break;
      case 5: {
        const std::string& token = pick(random, dictionary());
        text.replace(below(random, text.size()), token.size(), token);
        break;
      }
      default:
        edit_number(text, random);
    }
  }
}

std::string little_endian(uint64_t value) {
  std::string bytes;
  for (size_t i = 0; i < kLengthBytes; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
  return bytes;
}

// A file that lives in memory, so that a case costs no disk.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(::memfd_create("elasticlm-fuzz", MFD_CLOEXEC)) {
    if (descriptor_ < 0) throw std::runtime_error("memfd_create failed");
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }
  void hold(const std::string& bytes) {
    const ssize_t size = static_cast<ssize_t>(bytes.size());
    if (::ftruncate(descriptor_, size) != 0 || ::pwrite(descriptor_, bytes.data(), bytes.size(), 0) != size) {
      throw std::runtime_error("cannot write a file in memory");
    }
  }

 private:
  int descriptor_;
};

// Ends the program when a case does not.
class Watchdog {
 public:
  Watchdog() : thread_([this] { watch(); }) {}
  ~Watchdog() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }
  void begin(uint64_t case_idx) { case_idx_.store(case_idx); }

 private:
  void watch() {
    std::unique_lock lock(mutex_);
    uint64_t seen = case_idx_.load();
    while (!changed_.wait_for(lock, kCaseLimit, [this] { return done_; })) {
      const uint64_t now = case_idx_.load();
      if (now == seen) {
        std::fprintf(stderr, "case %llu hangs\n", static_cast<unsigned long long>(now));
        std::_Exit(1);
      }
      seen = now;
    }
  }

  std::atomic<uint64_t> case_idx_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;
};

// Reads every byte, so that the sanitizer sees an over-read; returns something that cannot be optimised away.
uint64_t touch(const std::byte* data, uint64_t size) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < size; ++i) sum += std::to_integer<uint64_t>(data[i]);
  return sum;
}

// Whether the entry's bytes lie in the data and are as many as its shape says, worked out in floating point:
// exact for every extent that a file of this program can have, and no overflow makes a huge one look small.
bool fits(const SafetensorsFile::Entry& entry, uint64_t data_bytes) {
  double bits = static_cast<double>(safetensors_dtype_bits(entry.dtype));
  for (const int64_t size : entry.shape) bits *= static_cast<double>(size);
  return entry.begin <= entry.end && entry.end <= data_bytes &&
         bits == static_cast<double>(entry.end - entry.begin) * 8;
}

class Fuzzer {
 public:
  explicit Fuzzer(uint64_t seed) : random_(seed) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      for (const char* prefix : {"", "bert."}) {
        seeds_.push_back(safetensors_bytes(encoder_tensors(config_, {.prefix = prefix, .num_labels = 2}),
                                           dtype, {{"format", "pt"}}));
      }
    }
    // Small files of foreign dtypes: mutations reach the rules sooner than in a whole encoder.
    small_seeds_.push_back(file_with_header("{}", ""));
    small_seeds_.push_back(file_with_header(
        R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"I64","shape":[],"data_offsets":[3,11]},)"
        R"("c":{"dtype":"F32","shape":[2,0],"data_offsets":[11,11]},"d":{"dtype":"F4","shape":[2,2],"data_offsets":[11,13]}})",
        std::string(13, 'x')));
    // Every length of UTF-8 and every kind of escape.
    small_seeds_.push_back(
        file_with_header("{\"__metadata__\":{\"\xc3\xa9\\u0000\\ud83d\\ude00\":\"\\n\\\"\xe2\x82\xac\"},"
                         "\"\xf0\x9f\x98\x80\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[0,1]}}",
                         "x"));
  }

  // True when the case was accepted, false when it was refused with a coded error; any other exception passes
  // through.
  bool run_case() {
    try {
      switch (below(random_, 4)) {
        case 0:
          run_header();
          break;
        case 1:
          run_shards();
          break;
        default:
          run_file();
      }
      return true;
    } catch (const Error&) {
      return false;
    }
  }

  uint64_t sum() const { return sum_; }

 private:
  // The parser alone, on a heap block of exactly the header's size: one byte past it is an error to the
  // sanitizer.
  void run_header() {
    const std::string& seed = pick(random_, random_() % 2 ? small_seeds_ : seeds_);
    const size_t size = header_size(seed);
    std::string header = seed.substr(kLengthBytes, size);
    mutate(header, random_);
    const std::unique_ptr<char[]> exact(new char[header.size()]);
    std::memcpy(exact.get(), header.data(), header.size());
    uint64_t data_bytes = seed.size() - kLengthBytes - size;
    if (below(random_, 8) == 0) data_bytes = random_() >> below(random_, 64);
    const SafetensorsHeader parsed =
        parse_safetensors_header(exact.get(), header.size(), data_bytes, "header");
    for (const auto& [name, entry] : parsed.entries) {
      if (!fits(entry, data_bytes)) throw std::logic_error("accepted with a wrong extent: " + name);
    }
  }

  void run_file() {
    first_.hold(mutated_file());
    read_all(Checkpoint({first_.path()}));
    load(load_weights(config_, {first_.path()}));
  }

  void run_shards() {
    first_.hold(random_() % 2 ? mutated_file() : pick(random_, seeds_));
    second_.hold(mutated_file());
    read_all(Checkpoint({first_.path(), second_.path()}));
    load(load_weights(config_, {first_.path(), second_.path()}));
  }

  std::string mutated_file() {
    std::string bytes = pick(random_, below(random_, 4) == 0 ? small_seeds_ : seeds_);
    const size_t size = header_size(bytes);
    switch (below(random_, 4)) {
      case 0:  // anything anywhere, the length field included
        mutate(bytes, random_);
        return bytes;
      case 1:  // a length that lies
        bytes.replace(0, kLengthBytes, little_endian(pick(random_, lengths_near(bytes.size(), size))));
        return bytes;
      case 2:  // data too short or too long
        bytes.resize(bytes.size() + below(random_, 64) - std::min(bytes.size(), below(random_, 64)));
        return bytes;
      default: {  // a header that is wrong, with a length that is right
        std::string header = bytes.substr(kLengthBytes, size);
        mutate(header, random_);
        return little_endian(header.size()) + header + bytes.substr(kLengthBytes + size);
      }
    }
  }

  std::vector<uint64_t> lengths_near(uint64_t file_size, uint64_t header_size) {
    const uint64_t after = file_size - kLengthBytes;
    return {0,
            1,
            header_size - 1,
            header_size + 1,
            after - 1,
            after,
            after + 1,
            file_size,
            99'999'999,
            100'000'000,
            100'000'001,
            uint64_t{1} << 63,
            ~uint64_t{0},
            ~uint64_t{0} - 7,
            random_() >> below(random_, 64)};
  }

  static size_t header_size(const std::string& file) {
    size_t size = 0;
    for (size_t i = 0; i < kLengthBytes; ++i)
      size |= static_cast<size_t>(static_cast<unsigned char>(file[i])) << (8 * i);
    return size;
  }

  void read_all(const Checkpoint& checkpoint) {
    for (const SafetensorsFile& file : checkpoint.files()) {
      for (const auto& [name, entry] : file.entries())
        sum_ += touch(file.data(entry), entry.end - entry.begin);
    }
  }

  void load(const std::shared_ptr<const ModelWeights>& weights) {
    sum_ += static_cast<uint64_t>(weights->packed_bytes());
    sum_ += touch(weights->word_embeddings.data,
                  static_cast<uint64_t>(config_.vocab_size * config_.hidden_size) *
                      static_cast<uint64_t>(dtype_bytes(weights->word_embeddings.dtype)));
  }

  Random random_;
  const EncoderConfig config_ = small_config();
  std::vector<std::string> seeds_;        // whole encoders
  std::vector<std::string> small_seeds_;  // few tensors
  MemoryFile first_;
  MemoryFile second_;
  uint64_t sum_ = 0;
};

int run(uint64_t num_cases, uint64_t seed) {
  Watchdog watchdog;
  Fuzzer fuzzer(seed);
  uint64_t accepted = 0;
  for (uint64_t i = 0; i < num_cases; ++i) {
    watchdog.begin(i + 1);
    try {
      accepted += fuzzer.run_case() ? 1 : 0;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "case %llu: an error without a code: %s\n", static_cast<unsigned long long>(i),
                   error.what());
      return 1;
    }
  }
  std::printf("%llu cases, %llu accepted, %llu refused (checksum %llx)\n",
              static_cast<unsigned long long>(num_cases), static_cast<unsigned long long>(accepted),
              static_cast<unsigned long long>(num_cases - accepted),
              static_cast<unsigned long long>(fuzzer.sum()));
  return 0;
}

}  // namespace
}  // namespace elasticlm::test

int main(int argc, char** argv) {
  const uint64_t num_cases = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 20000;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  if (num_cases == 0) {
    std::fprintf(stderr, "usage: safetensors_fuzz CASES SEED\n");
    return 2;
  }
  return elasticlm::test::run(num_cases, seed);
}
