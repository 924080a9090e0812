// A small test harness for native tests: named cases, checks that print what went wrong, a seeded generator.
// (No C++ test framework comes through npm, and newcomers should not need another package manager.)
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace elasticlm::test {

// The sanitizers look for undefined behaviour and accesses out of bounds, and make everything ten times as
// slow: where a test repeats itself on random input for the sake of the numbers, some of its repeats are
// enough for them.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

struct Case {
  const char* name;
  void (*run)();
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

struct Register {
  Register(const char* name, void (*run)()) { cases().push_back({name, run}); }
};

struct Failure {
  std::string message;
};

inline void check(bool condition, const std::string& message, const char* file, int line) {
  if (!condition) throw Failure{std::string(file) + ":" + std::to_string(line) + ": " + message};
}

// Runs every case whose name contains argv[1] (all without one); prints "N passed, N failed" and returns the
// exit code.
int run_cases(int argc, char** argv);

}  // namespace elasticlm::test

#define ELASTICLM_CONCAT2(a, b) a##b
#define ELASTICLM_CONCAT(a, b) ELASTICLM_CONCAT2(a, b)
#define TEST_CASE(name)                                                         \
  static void ELASTICLM_CONCAT(test_case_, __LINE__)();                         \
  static const elasticlm::test::Register ELASTICLM_CONCAT(register_, __LINE__)( \
      name, ELASTICLM_CONCAT(test_case_, __LINE__));                            \
  static void ELASTICLM_CONCAT(test_case_, __LINE__)()
#define CHECK(condition, message) elasticlm::test::check((condition), (message), __FILE__, __LINE__)
