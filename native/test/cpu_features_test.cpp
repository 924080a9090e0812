#include "core/cpu_features.h"

#include <map>
#include <optional>
#include <string>

#include "core/cgroup.h"
#include "core/status.h"
#include "test/check.h"

namespace elasticlm {
namespace {

std::map<std::string, std::string>& files() {
  static std::map<std::string, std::string> all;
  return all;
}

std::optional<std::string> read_listed(const std::string& path) {
  const auto found = files().find(path);
  return found == files().end() ? std::nullopt : std::optional(found->second);
}

void expect_limit(std::optional<double> expected, const std::string& what) {
  const auto limit = cgroup_cpu_limit(read_listed);
  CHECK(limit == expected, what + ": got " + (limit ? std::to_string(*limit) : "none"));
}

TEST_CASE("choose_isa: best by default, exact by name, coded error otherwise") {
  const Isa best = choose_isa("");
  CHECK(isa_supported(best), "the default must be supported");
  for (const Isa isa : {Isa::kRef, Isa::kGeneric, Isa::kNeon, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) {
    if (isa_supported(isa)) {
      CHECK(choose_isa(isa_name(isa)) == isa, std::string("by name: ") + isa_name(isa));
      CHECK(best >= isa, std::string("better than the default: ") + isa_name(isa));
      continue;
    }
    try {
      choose_isa(isa_name(isa));
      CHECK(false, std::string("accepted an unsupported ISA: ") + isa_name(isa));
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::kIsaUnsupported, error.what());
    }
  }
  for (const char* bad : {"avx", "AVX2", "avx512 ", "unknown"}) {
    try {
      choose_isa(bad);
      CHECK(false, std::string("accepted ") + bad);
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::kIsaUnsupported, error.what());
    }
  }
}

TEST_CASE("cgroup: quota text, unlimited and malformed") {
  CHECK(parse_cpu_max("150000 100000\n") == 1.5, "quota and period");
  for (const char* text :
       {"max 100000\n", "", "150000", "150000 0", "-1 100000", "0 100000", "x y", "99999999999999999999 1"}) {
    CHECK(!parse_cpu_max(text), std::string("no limit in \"") + text + "\"");
  }
  CHECK(parse_cfs_quota("50000\n", "100000\n") == 0.5, "v1");
  CHECK(!parse_cfs_quota("-1\n", "100000\n"), "v1 unlimited");
}

TEST_CASE("cgroup: a limit on a group above counts, the tightest wins, v1 and v2") {
  files() = {};
  expect_limit(std::nullopt, "no control groups");
  files() = {{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "200000 100000\n"}};
  expect_limit(2.0, "v2, container's own root");
  files() = {{"/proc/self/cgroup", "0::/a.slice/b.service\n"},
             {"/sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000\n"},
             {"/sys/fs/cgroup/a.slice/cpu.max", "300000 100000\n"},
             {"/sys/fs/cgroup/cpu.max", "400000 100000\n"}};
  expect_limit(3.0, "v2, parent");
  files() = {{"/proc/self/cgroup", "12:cpuset:/x\n4:cpu,cpuacct:/docker/id\n1:name=systemd:/\n0::/\n"},
             {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "250000\n"},
             {"/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"}};
  expect_limit(2.5, "v1, only the mount's root is visible");
  files() = {{"/proc/self/cgroup", "junk\n:\n::\n0:cpuacct:/x"},
             {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "1"}};
  expect_limit(std::nullopt, "malformed lines");
}

TEST_CASE("available_processors: at least one, at most what a quota allows") {
  const int count = available_processors();
  CHECK(count >= 1, "count " + std::to_string(count));
  if (const auto limit = cgroup_cpu_limit(read_system_file)) {
    CHECK(count < *limit + 1.0, "count " + std::to_string(count) + " above the quota");
  }
}

}  // namespace
}  // namespace elasticlm
