#include "test/check.h"

#include <exception>
#include <string_view>

namespace elasticlm::test {

int run_cases(int argc, char** argv) {
  const std::string_view filter = argc > 1 ? argv[1] : "";
  int passed = 0;
  int failed = 0;
  for (const Case& one : cases()) {
    if (std::string_view(one.name).find(filter) == std::string_view::npos) continue;
    try {
      one.run();
      ++passed;
    } catch (const Failure& failure) {
      std::printf("FAILED %s\n  %s\n", one.name, failure.message.c_str());
      ++failed;
    } catch (const std::exception& error) {
      std::printf("FAILED %s\n  threw %s\n", one.name, error.what());
      ++failed;
    }
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace elasticlm::test

int main(int argc, char** argv) { return elasticlm::test::run_cases(argc, argv); }
