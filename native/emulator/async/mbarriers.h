// The mbarriers of a block.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "emulator/async/mbarrier_state.h"

namespace elasticlm::emulator {

struct Mbarrier {
  MbarrierState state;
  uint64_t* object = nullptr;  // in shared memory: holds kMbarrierMark while nobody overwrites it
  uint32_t offset = 0;
  int owner = 0;        // the thread that made it
  bool fenced = false;  // the asynchronous proxy knows of it
};

class Mbarriers {
 public:
  void init(uint32_t offset, uint32_t arrivals);
  // Those that the current thread made become known to the asynchronous proxy.
  void fence();
  // Faults where there is none. The reference lives as long as the block.
  Mbarrier& at(uint32_t offset, const char* operation);

 private:
  std::map<uint32_t, Mbarrier> barriers_;
};

// Faults when ordinary code has written over the object.
void check_mbarrier(const Mbarrier& barrier, const std::string& operation);

}  // namespace elasticlm::emulator
