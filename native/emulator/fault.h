// What the emulator throws, from the call that ran the work, when a kernel does what the hardware does not
// define.
#pragma once

#include <stdexcept>
#include <string>

#include "emulator/vector_types.h"

namespace elasticlm::emulator {

struct FaultPlace {
  std::string kernel;
  uint3 block = {0, 0, 0};
  uint3 thread = {0, 0, 0};
};

class Fault : public std::runtime_error {
 public:
  Fault(FaultPlace where, const std::string& reason);

  FaultPlace place;
  std::string what_happened;
};

}  // namespace elasticlm::emulator
