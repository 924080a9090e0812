// LayerNorm of one row over the vector wrapper, shared by layer_norm_forward and embedding_forward.

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {

struct LayerNormRow {
  const float* gamma = nullptr;  // [E]
  const float* beta = nullptr;   // [E]
  int64_t hidden_size = 0;       // E
  float eps = 0.0f;
};

// Σ term(vector, lanes in use) over the vectors of a row, in four chains joined in a fixed order: an
// addition's latency is hidden, and the order of the sum depends on the row's length alone. Lanes that are
// not in use must give 0.
template <typename Term>
ELASTICLM_INLINE float sum_row(const float* x, int64_t size, const Term& term) {
  Vec sum[4] = {zero(), zero(), zero(), zero()};
  int64_t i = 0;
  for (; i + 4 * kLanes <= size; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) sum[c] = term(sum[c], load(x + i + c * kLanes), kLanes);
  }
  for (; i + kLanes <= size; i += kLanes) sum[0] = term(sum[0], load(x + i), kLanes);
  if (i < size) sum[1] = term(sum[1], load_first(x + i, size - i), size - i);
  return reduce_add((sum[0] + sum[2]) + (sum[1] + sum[3]));
}

// y may be x.
ELASTICLM_INLINE void layer_norm_row(const LayerNormRow& norm, const float* x, float* y) {
  const int64_t size = norm.hidden_size;
  const float mean_value =
      sum_row(x, size, [](Vec sum, Vec v, int64_t) { return sum + v; }) / static_cast<float>(size);
  const Vec mean = broadcast(mean_value);
  const float variance = sum_row(x, size,
                                 [mean](Vec sum, Vec v, int64_t lanes) {
                                   const Vec centred = v - mean;
                                   const Vec used =
                                       lanes < kLanes ? keep_first(centred, lanes, zero()) : centred;
                                   return fma(used, used, sum);
                                 }) /
                         static_cast<float>(size);
  const Vec gain = broadcast(1.0f / __builtin_sqrtf(variance + norm.eps));
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    const Vec scaled = (load(x + i) - mean) * gain;
    store(y + i, fma(scaled, load(norm.gamma + i), load(norm.beta + i)));
  }
  if (i < size) {
    const int64_t rest = size - i;
    const Vec scaled = (load_first(x + i, rest) - mean) * gain;
    store_first(y + i, fma(scaled, load_first(norm.gamma + i, rest), load_first(norm.beta + i, rest)), rest);
  }
}

}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE
