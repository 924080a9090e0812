// The threads, warps and blocks of a running launch.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <typeindex>
#include <utility>
#include <vector>

#include "emulator/fiber.h"
#include "emulator/vector_types.h"

namespace elasticlm::emulator {

inline constexpr uint32_t kAllLanes = 0xffffffffu;
constexpr uint32_t lane_bit(int lane) { return uint32_t{1} << lane; }

struct Warp;
struct Block;

// A cp.async that has not landed.
struct PendingCopy {
  unsigned char* shared;
  const unsigned char* global;  // nullptr: bytes holds what is to land
  std::array<unsigned char, 16> bytes;
};

struct alignas(64) Thread {
  // What every switch touches comes first, in one cache line.
  Fiber fiber;
  uint3 idx = {0, 0, 0};
  int lane = 0;
  void* deposit = nullptr;          // what it brought to the meeting it stands at
  const char* waits_for = nullptr;  // the operation it stands at, unless it can run

  Warp* warp = nullptr;
  Block* block = nullptr;
  int rank = 0;                        // in the block
  bool (*predicate)(void*) = nullptr;  // of wait_until
  void* predicate_context = nullptr;

  std::vector<PendingCopy> copies;  // oldest first
  std::vector<size_t> copy_groups;  // how many of `copies` each committed group ends at
};

// Threads of one scope on their way to the same operation.
struct Meeting {
  const char* operation = nullptr;
  int num_arrived = 0;
  int expected = 0;
  uint32_t mask = 0;   // of lanes, as the first one said it; for meetings of a warp
  uint32_t lanes = 0;  // those of them that exist
};

struct Warp {
  Block* block = nullptr;
  Thread* lanes = nullptr;  // the first one
  int idx = 0;              // in the block
  uint32_t existing = 0;    // lanes
  uint32_t started = 0;
  uint32_t ready = 0;  // can run
  uint32_t exited = 0;
  int ready_position = -1;  // in the scheduler's list, while a lane is ready
  uint32_t priority = 0;
  std::array<Meeting, 32> meetings;  // by the lowest lane of the mask
};

struct NamedBarrier {
  int threads = 0;  // expected; 0 while nobody has arrived
  int num_arrived = 0;
  uint32_t arrived = 0;  // warps
  uint32_t waiting = 0;  // warps
};

struct Block {
  uint3 idx = {0, 0, 0};
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  int num_live = 0;  // threads that have not exited
  Meeting meeting;
  std::vector<Meeting> warpgroup_meetings;
  std::array<NamedBarrier, 16> barriers;
  unsigned char* shared = nullptr;
  size_t shared_bytes = 0;
  bool waited_for_dependency = false;
  std::vector<std::pair<std::type_index, std::shared_ptr<void>>> states;
};

}  // namespace elasticlm::emulator
