// What the GPU benches share: order statistics, and results as one JSON object per line of standard output,
// which bench/gpu/summary.py reads.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace elasticlm::bench {

using Clock = std::chrono::steady_clock;

inline double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

inline double quantile(std::vector<double> values, double at) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(at * static_cast<double>(values.size() - 1))];
}
inline double median(const std::vector<double>& values) { return quantile(values, 0.5); }

// Strings must need no escaping: names and numbers of this repository's own, and what the driver calls a
// device.
class JsonLine {
 public:
  explicit JsonLine(const std::string& kind) : text_("{\"kind\":\"" + kind + "\"") {}
  JsonLine& add(const char* key, const std::string& value) { return append(key, '"' + value + '"'); }
  JsonLine& add(const char* key, const char* value) { return add(key, std::string(value)); }
  JsonLine& add(const char* key, int64_t value) { return append(key, std::to_string(value)); }
  JsonLine& add(const char* key, bool value) { return append(key, value ? "true" : "false"); }
  JsonLine& add(const char* key, double value) {
    char digits[32];
    std::snprintf(digits, sizeof(digits), "%.6g", value);
    return append(key, digits);
  }
  JsonLine& add(const char* key, const std::vector<int64_t>& values) {
    std::string list;
    for (const int64_t value : values) list += (list.empty() ? "" : ",") + std::to_string(value);
    return append(key, '[' + list + ']');
  }
  // At once, so that what was measured survives a later failure.
  void print() const {
    std::printf("%s}\n", text_.c_str());
    std::fflush(stdout);
  }

 private:
  JsonLine& append(const char* key, const std::string& value) {
    text_ += std::string(",\"") + key + "\":" + value;
    return *this;
  }

  std::string text_;
};

}  // namespace elasticlm::bench
