#include "emulator/scheduler_report.h"

#include <array>
#include <bit>
#include <map>

#include "emulator/scheduler.h"

namespace elasticlm::emulator {
namespace {

std::string coordinates(uint3 at) {
  return "(" + std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) + ")";
}

// Enough to see the pattern.
constexpr int kMaxLines = 24;

}  // namespace

Fault::Fault(FaultPlace where, const std::string& reason)
    : std::runtime_error(where.kernel + ", block " + coordinates(where.block) + ", thread " +
                         coordinates(where.thread) + ": " + reason),
      place(std::move(where)),
      what_happened(reason) {}

std::string stuck_report(const std::vector<Block>& blocks) {
  std::string lines;
  int num_lines = 0;
  bool at_barrier = false;
  for (const Block& block : blocks) {
    for (const Warp& warp : block.warps) {
      std::map<std::string, uint32_t> lanes_at;
      for (int lane = 0; lane < std::popcount(warp.existing); lane++) {
        const bool exited = ((warp.exited >> lane) & 1) != 0;
        const char* at = exited ? "exited" : warp.lanes[lane].waits_for;
        lanes_at[at == nullptr ? "running" : at] |= uint32_t{1} << lane;
      }
      for (const auto& [at, lanes] : lanes_at) {
        at_barrier = at_barrier || at == "__syncthreads";
        if (num_lines++ >= kMaxLines) continue;
        lines += "\n  block " + coordinates(block.idx) + " warp " + std::to_string(warp.idx) + ": " +
                 (lanes == warp.existing ? "all" : std::to_string(std::popcount(lanes))) + " at " + at;
      }
    }
  }
  return std::string(at_barrier ? "divergent barrier" : "deadlock") + ": nobody can run" + lines;
}

const char* barrier_operation(int id, bool wait) {
  static const auto names = [] {
    std::array<std::array<std::string, 16>, 2> all;
    for (size_t i = 0; i < 16; i++) {
      all[0][i] = "bar.arrive " + std::to_string(i);
      all[1][i] = "bar.sync " + std::to_string(i);
    }
    return all;
  }();
  if (id < 1 || id > 15) return nullptr;
  return names[wait ? 1 : 0][static_cast<size_t>(id)].c_str();
}

}  // namespace elasticlm::emulator
