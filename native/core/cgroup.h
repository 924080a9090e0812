// Reads the CPU bandwidth limit that a container or service manager has set through Linux control groups.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace elasticlm {

// Content of a file, or nothing when it cannot be read. Injected so that the look-up can be tested on
// strings.
using ReadFile = std::optional<std::string> (*)(const std::string& path);

// Processors' worth of time that cgroup v2's cpu.max allows ("150000 100000" is 1.5); nothing for "max" or
// malformed text.
std::optional<double> parse_cpu_max(std::string_view text);

// The same from v1's cpu.cfs_quota_us and cpu.cfs_period_us; nothing for the quota -1 or malformed text.
std::optional<double> parse_cfs_quota(std::string_view quota_us, std::string_view period_us);

// The tightest limit of this process's group and of the groups that hold it, v1 or v2; nothing without a
// limit.
std::optional<double> cgroup_cpu_limit(ReadFile read_file);

// The real thing to inject.
std::optional<std::string> read_system_file(const std::string& path);

}  // namespace elasticlm
