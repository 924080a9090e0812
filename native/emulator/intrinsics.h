// The words of device code: qualifiers, built-in variables, meetings of a warp or block, small arithmetic.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "emulator/thread.h"
#include "emulator/vector_types.h"

#define __host__
#define __device__
#define __global__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(bytes) __attribute__((aligned(bytes)))

// Of the fiber that runs; changed at every switch.
extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;

inline constexpr int warpSize = 32;

inline void __syncthreads() {
  elasticlm::emulator::meet(elasticlm::emulator::Scope::kBlock, "__syncthreads");
}

inline void __syncwarp(unsigned mask = 0xffffffffu) {
  if (elasticlm::emulator::arrive_lanes(mask, "__syncwarp")) elasticlm::emulator::leave_lanes(mask);
}

namespace elasticlm::emulator {

template <typename T>
struct ShuffleDeposit {
  T value;
  int source;  // lane
  T result;
};

// Every lane of the mask reads the value of lane `source`, which must be in the mask.
template <typename T>
T shuffle(unsigned mask, const char* operation, T value, int source) {
  ShuffleDeposit<T> mine = {value, source, value};
  meet_lanes(mask, operation, mine, [&](const Deposits<ShuffleDeposit<T>>& all) {
    for (int lane = 0; lane < 32; lane++) {
      if (((mask & current_thread->warp->existing) >> lane & 1) == 0) continue;
      if (((mask & current_thread->warp->existing) >> all[lane].source & 1) == 0) {
        fail(std::string(operation) + ": lane " + std::to_string(lane) + " reads lane " +
             std::to_string(all[lane].source) + ", which takes no part");
      }
      all[lane].result = all[all[lane].source].value;
    }
  });
  return mine.result;
}

// The bits of lanes whose predicate is not zero.
inline unsigned ballot(unsigned mask, const char* operation, int predicate) {
  struct Vote {
    int predicate;
    unsigned result;
  } mine = {predicate, 0};
  meet_lanes(mask, operation, mine, [&](const Deposits<Vote>& all) {
    const unsigned lanes = mask & current_thread->warp->existing;
    unsigned votes = 0;
    for (int lane = 0; lane < 32; lane++) {
      if ((lanes >> lane & 1) != 0 && all[lane].predicate != 0) votes |= 1u << lane;
    }
    for (int lane = 0; lane < 32; lane++) {
      if ((lanes >> lane & 1) != 0) all[lane].result = votes;
    }
  });
  return mine.result;
}

}  // namespace elasticlm::emulator

// `width` is a power of two: segments of so many lanes shuffle among themselves.
template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const int lane = elasticlm::emulator::current_thread->lane;
  return elasticlm::emulator::shuffle(mask, "__shfl_sync", value,
                                      (lane & ~(width - 1)) | (source & (width - 1)));
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
  const int lane = elasticlm::emulator::current_thread->lane;
  const int source = lane ^ lanes;
  const bool outside = source > (lane | (width - 1));
  return elasticlm::emulator::shuffle(mask, "__shfl_xor_sync", value, outside ? lane : source);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = elasticlm::emulator::current_thread->lane;
  const int source = lane + static_cast<int>(delta);
  const bool outside = source > (lane | (width - 1));
  return elasticlm::emulator::shuffle(mask, "__shfl_down_sync", value, outside ? lane : source);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = elasticlm::emulator::current_thread->lane;
  const int source = lane - static_cast<int>(delta);
  const bool outside = source < (lane & ~(width - 1));
  return elasticlm::emulator::shuffle(mask, "__shfl_up_sync", value, outside ? lane : source);
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return elasticlm::emulator::ballot(mask, "__ballot_sync", predicate);
}
inline int __any_sync(unsigned mask, int predicate) {
  return elasticlm::emulator::ballot(mask, "__any_sync", predicate) != 0;
}
inline int __all_sync(unsigned mask, int predicate) {
  return elasticlm::emulator::ballot(mask, "__all_sync", predicate == 0) == 0;
}

inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float __int_as_float(int bits) { return __uint_as_float(static_cast<unsigned>(bits)); }
inline int __float_as_int(float value) { return static_cast<int>(__float_as_uint(value)); }

inline float rsqrtf(float x) { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(x))); }

template <typename T>
T __ldg(const T* pointer) {
  return *pointer;
}

#define ELASTICLM_EMULATED_MIN_MAX(T)                 \
  constexpr T min(T a, T b) { return b < a ? b : a; } \
  constexpr T max(T a, T b) { return a < b ? b : a; }
ELASTICLM_EMULATED_MIN_MAX(int)
ELASTICLM_EMULATED_MIN_MAX(unsigned)
ELASTICLM_EMULATED_MIN_MAX(long)
ELASTICLM_EMULATED_MIN_MAX(unsigned long)
ELASTICLM_EMULATED_MIN_MAX(long long)
ELASTICLM_EMULATED_MIN_MAX(unsigned long long)
#undef ELASTICLM_EMULATED_MIN_MAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
