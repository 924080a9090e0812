// What sequences of a structure cost: multiply-adds times two, and the same with the floor that reading the
// weights sets.
#pragma once

#include <cstdint>

#include "model/config.h"
#include "model/structure.h"

namespace elasticlm {

struct StructureCost {
  double flops_per_row = 0;          // linear layers, for one row
  double flops_per_row_squared = 0;  // attention, times S * S

  double flops(int64_t seqlen) const {
    const auto rows = static_cast<double>(seqlen);
    return rows * (flops_per_row + rows * flops_per_row_squared);
  }
};

StructureCost structure_cost(const EncoderConfig& config, const Structure& structure);

}  // namespace elasticlm
