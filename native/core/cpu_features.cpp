#include "core/cpu_features.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <thread>

#include "core/cgroup.h"
#include "core/status.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sched.h>

#include <vector>
#endif

namespace elasticlm {
namespace {

constexpr Isa kAllIsas[] = {Isa::kAvx512Bf16, Isa::kAvx512, Isa::kAvx2, Isa::kNeon, Isa::kGeneric, Isa::kRef};

#if defined(__x86_64__)

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf = 0) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx,
                    &r.edx);  // leaves zeros when the leaf does not exist
  return r;
}

// Register state that the operating system saves on a context switch.
unsigned saved_state() {
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

constexpr bool has(unsigned value, unsigned mask) { return (value & mask) == mask; }

struct X86Features {
  bool avx2 = false;
  bool avx512 = false;
  bool avx512_bf16 = false;
};

// What the compiler may emit for the flags that CMakeLists.txt and binding.gyp give the files of each ISA.
X86Features detect() {
  constexpr unsigned kLeaf1Ecx =
      bit_FMA | bit_SSE4_2 | bit_POPCNT | bit_OSXSAVE | bit_AVX | bit_F16C | bit_MOVBE;
  constexpr unsigned kLeaf7Ebx = bit_AVX2 | bit_BMI | bit_BMI2;
  constexpr unsigned kLeaf7EbxAvx512 =
      bit_AVX512F | bit_AVX512DQ | bit_AVX512IFMA | bit_AVX512CD | bit_AVX512BW | bit_AVX512VL;
  constexpr unsigned kLeaf7EcxAvx512 =
      bit_AVX512VBMI | bit_AVX512VBMI2 | bit_GFNI | bit_AVX512VNNI | bit_AVX512BITALG | bit_AVX512VPOPCNTDQ;
  constexpr unsigned kYmmState = 0x06;  // XMM and the upper halves of YMM
  constexpr unsigned kZmmState = 0xe6;  // and opmask, the upper halves of ZMM, ZMM16 to ZMM31

  X86Features found;
  if (!has(cpuid(1).ecx, kLeaf1Ecx)) return found;
  const unsigned state = saved_state();
  const Registers leaf7 = cpuid(7);
  found.avx2 = has(state, kYmmState) && has(leaf7.ebx, kLeaf7Ebx) && has(cpuid(0x80000001).ecx, bit_LZCNT);
  found.avx512 = found.avx2 && has(state, kZmmState) && has(leaf7.ebx, kLeaf7EbxAvx512) &&
                 has(leaf7.ecx, kLeaf7EcxAvx512);
  found.avx512_bf16 = found.avx512 && has(cpuid(7, 1).eax, bit_AVX512BF16);
  return found;
}

const X86Features& x86_features() {
  static const X86Features features = detect();
  return features;
}

#endif

int affinity_processors() {
#if defined(__linux__)
  // The mask's size is not known beforehand: more than 1024 processors need a larger one than cpu_set_t.
  for (int capacity = CPU_SETSIZE; capacity <= CPU_SETSIZE * 64; capacity *= 2) {
    std::vector<cpu_set_t> mask(static_cast<size_t>(capacity / CPU_SETSIZE));
    const size_t bytes = mask.size() * sizeof(cpu_set_t);
    if (sched_getaffinity(0, bytes, mask.data()) == 0) return CPU_COUNT_S(bytes, mask.data());
  }
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kRef:
      return "ref";
    case Isa::kGeneric:
      return "generic";
    case Isa::kNeon:
      return "neon";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Bf16:
      return "avx512bf16";
  }
  return "unknown";
}

bool isa_supported(Isa isa) {
  switch (isa) {
    case Isa::kRef:
    case Isa::kGeneric:
      return true;
    case Isa::kNeon:
#if defined(__aarch64__)
      return true;
#else
      return false;
#endif
#if defined(__x86_64__)
    case Isa::kAvx2:
      return x86_features().avx2;
    case Isa::kAvx512:
      return x86_features().avx512;
    case Isa::kAvx512Bf16:
      return x86_features().avx512_bf16;
#else
    case Isa::kAvx2:
    case Isa::kAvx512:
    case Isa::kAvx512Bf16:
      return false;
#endif
  }
  return false;
}

Isa choose_isa(std::string_view requested) {
  std::string supported;
  for (const Isa isa : kAllIsas) {
    if (!isa_supported(isa)) continue;
    if (requested.empty() || requested == isa_name(isa)) return isa;
    supported += (supported.empty() ? "" : ", ") + std::string(isa_name(isa));
  }
  fail(ErrorCode::kIsaUnsupported, {.expected = "one of " + supported,
                                    .subject = "the instruction set",
                                    .received = "\"" + std::string(requested) + "\"",
                                    .remedy = "Leave it unset to use the best one of this machine"});
}

Isa effective_isa(Isa isa, Precision precision) {
  return isa == Isa::kAvx512Bf16 && precision == Precision::kF32 ? Isa::kAvx512 : isa;
}

int available_processors() {
  int count = affinity_processors();
  // A quota of 1.5 processors keeps two threads busy three quarters of the time: rounding up wastes none of
  // it.
  if (const auto limit = cgroup_cpu_limit(read_system_file)) {
    count = std::min(count, static_cast<int>(std::ceil(std::min(*limit, 1e6))));
  }
  return std::max(count, 1);
}

}  // namespace elasticlm
