// Cuts a batch into blocks of whole sequences and decides which blocks are split among the threads.
#pragma once

#include <span>
#include <vector>

#include "plan/cost.h"
#include "plan/plan.h"

namespace elasticlm {

// Blocks without stages, in the order in which Plan holds them.
std::vector<PlanBlock> make_blocks(std::span<const StructureCost> costs, const BatchShape& shape,
                                   int num_threads);

}  // namespace elasticlm
