// Small safetensors files for tests: made in memory, written to a temporary folder.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/status.h"
#include "model/config.h"

namespace elasticlm::test {

// A fresh folder, removed with all it holds.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string path(const std::string& name) const { return path_ + "/" + name; }
  std::vector<std::string> names() const;  // of the files inside, sorted

 private:
  std::string path_;
};

void write_file(const std::string& path, const std::string& bytes);
std::string read_file(const std::string& path);

// The file with this header text and data section; the length field agrees with the header.
std::string file_with_header(const std::string& header, const std::string& data);

struct StoredValues {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> values;
};

// A whole file of these tensors, in this order.
std::string safetensors_bytes(const std::vector<StoredValues>& tensors, DType dtype,
                              const std::map<std::string, std::string>& metadata = {});

struct EncoderTensorOptions {
  std::string prefix;  // before every tensor of the encoder, but not before the classifier's
  bool pooler = true;
  int64_t num_labels = 0;  // 0: no classifier
  uint64_t seed = 1;
};

// All tensors of an encoder by their Hugging Face names. The values are multiples of 1/64 below 2, which f32,
// f16 and bf16 all hold exactly.
std::vector<StoredValues> encoder_tensors(const EncoderConfig& config, const EncoderTensorOptions& options);

// The value of `tensors` called `name`; throws std::out_of_range when there is none.
const StoredValues& tensor_named(const std::vector<StoredValues>& tensors, const std::string& name);

// Two layers, two heads of 8, and 24 neurons: the last block of neurons is short.
EncoderConfig small_config();

// Runs `action`, which must throw an Error of `code` whose message contains `wording`; `label` names the
// case.
void check_throws(const std::string& label, ErrorCode code, const std::string& wording,
                  const std::function<void()>& action);

}  // namespace elasticlm::test
