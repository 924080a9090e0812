// Words for faults.
#pragma once

#include <string>
#include <vector>

#include "emulator/block.h"

namespace elasticlm::emulator {

// Who waits at what when nobody can run.
std::string stuck_report(const std::vector<Block>& blocks);

// The name under which a thread waits at a named barrier; nullptr for an id that there is not.
const char* barrier_operation(int id, bool wait);

}  // namespace elasticlm::emulator
