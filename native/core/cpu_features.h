// Which instruction set the kernels use, chosen at run time.
#pragma once

#include <string_view>

#include "core/precision.h"

namespace elasticlm {

// In rising order of preference. kAvx512Bf16 is kAvx512 with native dot products of bf16. kGeneric is
// portable C++ that the compiler vectorises for the baseline target (SSE2 or NEON); kNeon says itself what
// every 64-bit ARM processor can do; kRef is the scalar truth for tests.
enum class Isa { kRef, kGeneric, kNeon, kAvx2, kAvx512, kAvx512Bf16 };

const char* isa_name(Isa isa);  // "ref", "generic", "neon", "avx2", "avx512", "avx512bf16"

// Whether this processor and this build can run `isa`.
bool isa_supported(Isa isa);

// The best supported one, or the one that `requested` names when it is not empty.
// Throws kIsaUnsupported for an unknown name or one that this machine cannot run.
Isa choose_isa(std::string_view requested);

// The set whose kernels really run when `isa` computes in `precision`: native bf16 is no part of f32.
Isa effective_isa(Isa isa, Precision precision);

// Processors this process may use: the affinity mask, lowered by a cgroup CPU quota. At least 1.
int available_processors();

}  // namespace elasticlm
