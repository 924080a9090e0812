// What a kernel's speed is compared with.
#pragma once

#include "core/cpu_features.h"
#include "peak.h"

namespace elasticlm::bench {

// The loop of the instructions that linear layers of this set and precision use; none where they have no
// instruction of their own.
inline PeakLoop peak_of(Isa isa, Precision precision) {
#if defined(__x86_64__)
  const bool is_avx512 = isa == Isa::kAvx512 || isa == Isa::kAvx512Bf16;
  if (precision == Precision::kI8) return is_avx512 ? kAvx512I8Peak : PeakLoop();
  if (precision == Precision::kBF16) return isa == Isa::kAvx512Bf16 ? kAvx512Bf16Peak : PeakLoop();
  if (is_avx512) return kAvx512F32Peak;
  if (isa == Isa::kAvx2) return kAvx2F32Peak;
#endif
  return isa == Isa::kGeneric && precision == Precision::kF32 ? kGenericF32Peak : PeakLoop();
}

}  // namespace elasticlm::bench
