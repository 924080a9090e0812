#include "core/cgroup.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>

namespace elasticlm {
namespace {

// The number that `text` begins with, after spaces, cut off from it.
std::optional<int64_t> take_number(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\n"), text.size()));
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

std::optional<double> quotient(std::optional<int64_t> quota, std::optional<int64_t> period) {
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

std::optional<double> tighter(std::optional<double> a, std::optional<double> b) {
  if (!a || !b) return a ? a : b;
  return std::min(*a, *b);
}

bool lists_cpu(std::string_view controllers) {
  while (!controllers.empty()) {
    const size_t comma = std::min(controllers.find(','), controllers.size());
    if (controllers.substr(0, comma) == "cpu") return true;
    controllers.remove_prefix(std::min(comma + 1, controllers.size()));
  }
  return false;
}

std::optional<double> group_limit(ReadFile read_file, const std::string& group, bool v2) {
  if (v2) {
    const auto text = read_file(group + "/cpu.max");
    return text ? parse_cpu_max(*text) : std::nullopt;
  }
  const auto quota = read_file(group + "/cpu.cfs_quota_us");
  const auto period = read_file(group + "/cpu.cfs_period_us");
  return quota && period ? parse_cfs_quota(*quota, *period) : std::nullopt;
}

// The limits of `path` and of every group above it, up to the mount.
std::optional<double> chain_limit(ReadFile read_file, const std::string& mount, std::string_view path,
                                  bool v2) {
  std::optional<double> limit;
  for (;;) {
    while (!path.empty() && path.back() == '/') path.remove_suffix(1);
    limit = tighter(limit, group_limit(read_file, mount + std::string(path), v2));
    if (path.empty()) return limit;
    path = path.substr(0, path.rfind('/') == std::string_view::npos ? 0 : path.rfind('/'));
  }
}

}  // namespace

std::optional<double> parse_cpu_max(std::string_view text) {
  const auto quota = take_number(text);
  return quotient(quota, quota ? take_number(text) : std::nullopt);
}

std::optional<double> parse_cfs_quota(std::string_view quota_us, std::string_view period_us) {
  return quotient(take_number(quota_us), take_number(period_us));
}

std::optional<double> cgroup_cpu_limit(ReadFile read_file) {
  const auto groups = read_file("/proc/self/cgroup");
  if (!groups) return std::nullopt;
  std::optional<double> limit;
  // Lines "hierarchy:controllers:path"; v2's one line has hierarchy 0 and no controllers.
  for (std::string_view rest = *groups; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const size_t first = line.find(':');
    const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string_view path = line.substr(second + 1);
    if (controllers.empty()) {
      limit = tighter(limit, chain_limit(read_file, "/sys/fs/cgroup", path, true));
    } else if (lists_cpu(controllers)) {
      limit = tighter(limit, chain_limit(read_file, "/sys/fs/cgroup/cpu", path, false));
    }
  }
  return limit;
}

std::optional<std::string> read_system_file(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace elasticlm
