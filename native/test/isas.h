// The instruction sets that tests run.
#pragma once

#include <cstdio>
#include <vector>

#include "core/cpu_features.h"

namespace elasticlm::test {

inline std::vector<Isa> supported_isas() {
  std::vector<Isa> isas;
  for (const Isa isa : {Isa::kRef, Isa::kGeneric, Isa::kNeon, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) {
    if (isa_supported(isa)) {
      isas.push_back(isa);
    } else {
      std::printf("skipped %s: not supported by this processor or build\n", isa_name(isa));
    }
  }
  return isas;
}

// Those that have kernels of their own for `precision`.
inline std::vector<Isa> supported_isas(Precision precision) {
  std::vector<Isa> isas = supported_isas();
  std::erase_if(isas, [precision](Isa isa) { return effective_isa(isa, precision) != isa; });
  return isas;
}

}  // namespace elasticlm::test
