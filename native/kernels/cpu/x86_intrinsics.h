// The compiler's x86 intrinsics without false alarms: g++ 12 takes the deliberately undefined operands in its
// own headers for mistakes once they are inlined (GCC PR 105593).
#pragma once

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop
