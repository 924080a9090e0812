// The warpgroup part of ptx.cuh under nvcc: instructions that only sm_90a has. ptx_nvcc.cuh includes this
// where the compiler makes code for sm_90a, and in the pass for the host, which never makes code of a device
// function.
#pragma once

#include <type_traits>

namespace elasticlm::cuda::ptx {

// The operands of one wgmma: N / 2 accumulators, then the two descriptors and whether to add to what the
// accumulators hold.
#define ELASTICLM_ACC8(i)                                                                         \
  "+f"(acc[(i)]), "+f"(acc[(i) + 1]), "+f"(acc[(i) + 2]), "+f"(acc[(i) + 3]), "+f"(acc[(i) + 4]), \
      "+f"(acc[(i) + 5]), "+f"(acc[(i) + 6]), "+f"(acc[(i) + 7])
#define ELASTICLM_ACC32(i) \
  ELASTICLM_ACC8(i), ELASTICLM_ACC8((i) + 8), ELASTICLM_ACC8((i) + 16), ELASTICLM_ACC8((i) + 24)
#define ELASTICLM_NAMES_0                                                  \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define ELASTICLM_NAMES_32                                                           \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define ELASTICLM_NAMES_64                                                           \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define ELASTICLM_NAMES_96                                                                       \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

// Scales of A and B are 1, A is K-major; the last immediate is the transpose bit of B.
#define ELASTICLM_WGMMA(n, type, names, a_name, b_name, scale_name, transpose_name, ...)                    \
  asm volatile("{ .reg .pred p; setp.ne.b32 p, " scale_name ", 0; wgmma.mma_async.sync.aligned.m64n" n      \
               "k16.f32." type "." type " {" names "}, " a_name ", " b_name ", p, 1, 1, 0, " transpose_name \
               "; }"                                                                                        \
               : __VA_ARGS__                                                                                \
               : "l"(a), "l"(b), "r"(scale), "n"(kTranspose))
#define ELASTICLM_WGMMA_64(type) \
  ELASTICLM_WGMMA("64", type, ELASTICLM_NAMES_0, "%32", "%33", "%34", "%35", ELASTICLM_ACC32(0))
#define ELASTICLM_WGMMA_128(type)                                                                     \
  ELASTICLM_WGMMA("128", type, ELASTICLM_NAMES_0 ", " ELASTICLM_NAMES_32, "%64", "%65", "%66", "%67", \
                  ELASTICLM_ACC32(0), ELASTICLM_ACC32(32))
#define ELASTICLM_WGMMA_192(type)                                                                        \
  ELASTICLM_WGMMA("192", type, ELASTICLM_NAMES_0 ", " ELASTICLM_NAMES_32 ", " ELASTICLM_NAMES_64, "%96", \
                  "%97", "%98", "%99", ELASTICLM_ACC32(0), ELASTICLM_ACC32(32), ELASTICLM_ACC32(64))
#define ELASTICLM_WGMMA_256(type)                                                                            \
  ELASTICLM_WGMMA("256", type,                                                                               \
                  ELASTICLM_NAMES_0 ", " ELASTICLM_NAMES_32 ", " ELASTICLM_NAMES_64 ", " ELASTICLM_NAMES_96, \
                  "%128", "%129", "%130", "%131", ELASTICLM_ACC32(0), ELASTICLM_ACC32(32),                   \
                  ELASTICLM_ACC32(64), ELASTICLM_ACC32(96))
#define ELASTICLM_WGMMA_OF(n)             \
  if constexpr (std::is_same_v<T, f16>) { \
    ELASTICLM_WGMMA_##n("f16");           \
  } else {                                \
    ELASTICLM_WGMMA_##n("bf16");          \
  }

template <typename T, int N, Major kMajor, int kSize>
ELASTICLM_DEVICE void wgmma_m64k16(float (&acc)[kSize], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(std::is_same_v<T, f16> || std::is_same_v<T, bf16>);
  static_assert(N == 64 || N == 128 || N == 192 || N == 256, "an N with an instruction here");
  static_assert(kSize >= N / 2);
  constexpr int kTranspose = kMajor == Major::kN ? 1 : 0;
  const int scale = accumulate ? 1 : 0;
  if constexpr (N == 64) {
    ELASTICLM_WGMMA_OF(64)
  } else if constexpr (N == 128) {
    ELASTICLM_WGMMA_OF(128)
  } else if constexpr (N == 192) {
    ELASTICLM_WGMMA_OF(192)
  } else {
    ELASTICLM_WGMMA_OF(256)
  }
}

#undef ELASTICLM_WGMMA_OF
#undef ELASTICLM_WGMMA_256
#undef ELASTICLM_WGMMA_192
#undef ELASTICLM_WGMMA_128
#undef ELASTICLM_WGMMA_64
#undef ELASTICLM_WGMMA
#undef ELASTICLM_NAMES_96
#undef ELASTICLM_NAMES_64
#undef ELASTICLM_NAMES_32
#undef ELASTICLM_NAMES_0
#undef ELASTICLM_ACC32
#undef ELASTICLM_ACC8

template <int kSize>
ELASTICLM_DEVICE void wgmma_pin(float (&acc)[kSize]) {
#pragma unroll
  for (int i = 0; i < kSize; ++i) asm volatile("" : "+f"(acc[i])::"memory");
}

ELASTICLM_DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
ELASTICLM_DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
ELASTICLM_DEVICE void wgmma_wait() {
  static_assert(kPending >= 0 && kPending <= 7);
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

template <int kRegisters>
ELASTICLM_DEVICE void registers_decrease() {
  static_assert(kRegisters >= 24 && kRegisters <= 256 && kRegisters % 8 == 0);
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
ELASTICLM_DEVICE void registers_increase() {
  static_assert(kRegisters >= 24 && kRegisters <= 256 && kRegisters % 8 == 0);
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace elasticlm::cuda::ptx
