// What happens to an accumulated element of a linear layer before it is stored, and the 16-byte stores of the
// fast kernels.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/ptx.cuh"

namespace elasticlm::cuda {

// Exact GELU, x Φ(x), within 1.5e-7: max(x, 0) - |x| Φ(-|x|), where Φ(-a) = 2^P(a). P is a minimax polynomial
// of degree 6 for the error of a Φ(-a) on [0, 6], 9e-8 with the roundings of f32; the rest is ex2.approx.
// Half the instructions of erff and no branch: with erff, the epilogue of a 128 x 128 tile would take a third
// as long as its products at depth 768. NaN gives NaN.
ELASTICLM_DEVICE float gelu(float x) {
  const float magnitude = fabsf(x);
  const float a = fminf(magnitude, 12.0f);  // 12 Φ(-12) is 0 beside any 16-bit or f32 result
  float p = 3.30927528e-05f;
  p = fmaf(p, a, -7.69219070e-04f);
  p = fmaf(p, a, 8.08071438e-03f);
  p = fmaf(p, a, -5.34121022e-02f);
  p = fmaf(p, a, -4.58770990e-01f);
  p = fmaf(p, a, -1.15120173f);
  p = fmaf(p, a, -9.99993086e-01f);
  return fmaf(-a, ptx::exp2_approx(p), 0.5f * (x + magnitude));
}

ELASTICLM_DEVICE float activate(Epilogue epilogue, float a) {
  if (epilogue == Epilogue::kBiasGelu) return gelu(a);
  if (epilogue == Epilogue::kBiasTanh) return tanhf(a);
  return a;
}

// Eight neighbouring columns of one row of y, which begin at a multiple of 8.
struct EpilogueRun {
  Epilogue epilogue = Epilogue::kBias;
  int num_kept = 8;  // of the eight; the others become zeros. May be below 0 or above 8.
};

// `residual` is read with Epilogue::kBiasResidual alone.
template <typename T>
ELASTICLM_DEVICE void store_run(const EpilogueRun& run, const float (&sums)[8], const float (&bias)[8],
                                const uint4& residual, void* y) {
  float values[8];
  for (int i = 0; i < 8; ++i) values[i] = sums[i] + bias[i];
  if (run.epilogue == Epilogue::kBiasResidual) {
    const uint32_t words[4] = {residual.x, residual.y, residual.z, residual.w};
    for (int i = 0; i < 4; ++i) {
      const float2 pair = unpack2<T>(words[i]);
      values[2 * i] += pair.x;
      values[2 * i + 1] += pair.y;
    }
  } else if (run.epilogue != Epilogue::kBias) {
    for (int i = 0; i < 8; ++i) values[i] = activate(run.epilogue, values[i]);
  }
  if (run.num_kept < 8) {
    for (int i = 0; i < 8; ++i) values[i] = i < run.num_kept ? values[i] : 0.0f;
  }
  *static_cast<uint4*>(y) = {pack2<T>(values[0], values[1]), pack2<T>(values[2], values[3]),
                             pack2<T>(values[4], values[5]), pack2<T>(values[6], values[7])};
}

}  // namespace elasticlm::cuda
