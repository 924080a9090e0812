// The words of CUDA C++ and of its runtime API that this project uses, for builds with a host compiler and
// the emulator. Names, values and semantics are CUDA's; where CUDA leaves freedom (asynchrony, scheduling)
// see native/emulator.
#pragma once

#include "emulator/intrinsics.h"
#include "emulator/runtime_api.h"
