// What attention in f32, forward and backward, says to attention_impl.h. Included after the wrapper.

#include "kernels/cpu/attention_impl.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

struct F32Product {
  using Element = float;
  using Operand = Vec;
  static constexpr int64_t kElements = 1;
  static constexpr int kTileVecs = 3;
  static constexpr float kExponentUnit = 1.0f;

  ELASTICLM_INLINE static Vec row(const std::byte* p) {
    float word;
    std::memcpy(&word, p, sizeof(word));
    return broadcast(word);
  }
  ELASTICLM_INLINE static Vec vector(const std::byte* p) { return load(reinterpret_cast<const float*>(p)); }
  ELASTICLM_INLINE static Vec first_words(const std::byte* p, int64_t n) {
    return load_first(reinterpret_cast<const float*>(p), n);
  }
  ELASTICLM_INLINE static Vec add(Vec sum, Vec x, Vec w) { return fma(x, w, sum); }
  ELASTICLM_INLINE static void store(float* p, Vec a) { elasticlm::ELASTICLM_ISA_NAMESPACE::store(p, a); }
  ELASTICLM_INLINE static void store_first(float* p, Vec a, int64_t n) {
    elasticlm::ELASTICLM_ISA_NAMESPACE::store_first(p, a, n);
  }

  ELASTICLM_INLINE static int64_t ld_values(const AttentionArgs& args) { return args.ldqkv * kWordBytes; }
  // V is read in place.
  ELASTICLM_INLINE static const std::byte* lay_out_values(const AttentionArgs&, const float* v, std::byte*) {
    return reinterpret_cast<const std::byte*>(v);
  }

  // 2^exponents of kRows rows and kVecs neighbouring vectors, and their sums.
  template <int kRows, int kVecs>
  ELASTICLM_INLINE static void weigh(Vec (&exponents)[kRows * kVecs], float* weights, int64_t ld,
                                     Vec (&sum)[kRows]) {
    exp2(exponents);
#pragma GCC unroll 8
    for (int i = 0; i < kRows * kVecs; ++i) {
      elasticlm::ELASTICLM_ISA_NAMESPACE::store(weights + i / kVecs * ld + i % kVecs * kLanes, exponents[i]);
      sum[i / kVecs] = sum[i / kVecs] + exponents[i];
    }
  }
};

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE
