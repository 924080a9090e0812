// The twins of ldmatrix, mma.sync and ex2.approx against the PTX manual's definitions.
#if defined(ELASTICLM_EMULATED)

#include <cmath>
#include <random>

#include "test/cuda/emulated.h"

namespace elasticlm::test {
namespace {

using cuda::bf16;
using cuda::f16;
using cuda::shared_memory;
namespace ptx = cuda::ptx;

// x is [32][8]: 4 matrices, of which lane l gives row l.
__global__ void load_fragments(const uint4* x, uint32_t* out, uint32_t* out_trans) {
  auto* shared = reinterpret_cast<uint4*>(shared_memory());
  shared[threadIdx.x] = x[threadIdx.x];
  __syncwarp();
  uint32_t r[4];
  const uint32_t row = ptx::shared_address(shared + threadIdx.x);
  ptx::ldmatrix_x4(r, row);
  for (unsigned i = 0; i < 4; i++) out[i * 32 + threadIdx.x] = r[i];
  ptx::ldmatrix_x4_trans(r, row);
  for (unsigned i = 0; i < 4; i++) out_trans[i * 32 + threadIdx.x] = r[i];
}

TEST_CASE("ldmatrix gives lane l the elements 2 (l mod 4) and the next of row l / 4, or of column l / 4") {
  const Machine machine;
  std::vector<uint4> x(32);
  auto* elements = reinterpret_cast<uint16_t*>(x.data());  // element (matrix, row, column) is its own index
  for (int i = 0; i < 256; i++) elements[i] = static_cast<uint16_t>(i);
  const Device<uint4> device_x(x);
  const Device<uint32_t> out(128);
  const Device<uint32_t> out_trans(128);
  run(load_fragments, shape_of(1, 32, 512), device_x.data(), out.data(), out_trans.data());
  const std::vector<uint32_t> plain = out.values();
  const std::vector<uint32_t> trans = out_trans.values();
  for (uint32_t i = 0; i < 4; i++) {
    for (uint32_t lane = 0; lane < 32; lane++) {
      const uint32_t first = i * 64 + lane / 4 * 8 + lane % 4 * 2;
      CHECK(plain[i * 32 + lane] == (first | (first + 1) << 16), "lane " + std::to_string(lane));
      const uint32_t above = i * 64 + lane % 4 * 2 * 8 + lane / 4;
      CHECK(trans[i * 32 + lane] == (above | (above + 8) << 16), "transposed, lane " + std::to_string(lane));
    }
  }
}

// d [16, 8] += a [16, 16] b^T, b [8, 16], through the fragments of the PTX manual.
template <typename T>
__global__ void multiply(const uint16_t* a, const uint16_t* b, float* d) {
  const int lane = static_cast<int>(threadIdx.x);
  const int group = lane / 4;
  const int pair = lane % 4 * 2;
  const auto at = [](const uint16_t* x, int row, int column) {
    return x[row * 16 + column] | uint32_t{x[row * 16 + column + 1]} << 16;
  };
  const uint32_t fa[4] = {at(a, group, pair), at(a, group + 8, pair), at(a, group, pair + 8),
                          at(a, group + 8, pair + 8)};
  const uint32_t fb[2] = {at(b, group, pair), at(b, group, pair + 8)};
  float acc[4];
  for (int i = 0; i < 4; i++) acc[i] = d[(group + i / 2 * 8) * 8 + pair + i % 2];
  ptx::mma_m16n8k16<T>(acc, fa, fb);
  for (int i = 0; i < 4; i++) d[(group + i / 2 * 8) * 8 + pair + i % 2] = acc[i];
}

template <typename T>
void check_product(uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<uint16_t> a(256);
  std::vector<uint16_t> b(128);
  std::vector<float> d(128);
  // Some subnormal values of f16 (and small ones of bf16) among them.
  for (uint16_t& each : a)
    each = cuda::from_float<T>(normal(engine) * (engine() % 8 == 0 ? 1e-6f : 1.0f)).bits;
  for (uint16_t& each : b) each = cuda::from_float<T>(normal(engine)).bits;
  for (float& each : d) each = normal(engine);
  const Device<uint16_t> device_a(a);
  const Device<uint16_t> device_b(b);
  const Device<float> device_d(d);
  run(multiply<T>, shape_of(1, 32), device_a.data(), device_b.data(), device_d.data());
  const std::vector<float> received = device_d.values();
  for (size_t m = 0; m < 16; m++) {
    for (size_t n = 0; n < 8; n++) {
      double exact = d[m * 8 + n];
      double magnitude = std::abs(exact);
      for (size_t k = 0; k < 16; k++) {
        const double product = double{cuda::to_float(T{a[m * 16 + k]})} * cuda::to_float(T{b[n * 16 + k]});
        exact += product;
        magnitude += std::abs(product);
      }
      // 16 additions in f32, products exact.
      const double tolerance = 16 * 0x1p-24 * magnitude;
      CHECK(std::abs(received[m * 8 + n] - exact) <= tolerance,
            "at (" + std::to_string(m) + ", " + std::to_string(n) + "): received " +
                std::to_string(received[m * 8 + n]) + ", expected " + std::to_string(exact));
    }
  }
}

__global__ void multiply_alone() {
  float d[4] = {};
  const uint32_t a[4] = {};
  const uint32_t b[2] = {};
  if (threadIdx.x < 31) ptx::mma_m16n8k16<f16>(d, a, b);
}

TEST_CASE("mma is a b + d of exact products, in f16 and bf16") {
  const Machine machine;
  for (uint64_t seed = 1; seed <= 5; seed++) {
    check_product<f16>(seed);
    check_product<bf16>(seed);
  }
  CHECK_FAULT(run(multiply_alone, shape_of(1, 32)), "exit");
  CHECK_FAULT(run(multiply_alone, shape_of(1, 16)), "whole warp");
}

TEST_CASE("mma keeps infinity and NaN") {
  const Machine machine;
  std::vector<uint16_t> a(256, 0);
  a[0] = 0x7c00;       // row 0: infinity
  a[16 + 1] = 0x7e00;  // row 1: NaN
  a[32 + 2] = 0xfc00;  // row 2: -infinity
  const Device<uint16_t> device_a(a);
  const Device<uint16_t> device_b(std::vector<uint16_t>(128, 0x3c00));
  const Device<float> d(128, 1.0f);
  run(multiply<f16>, shape_of(1, 32), device_a.data(), device_b.data(), d.data());
  const std::vector<float> values = d.values();
  CHECK(values[0] == INFINITY && std::isnan(values[8]) && values[16] == -INFINITY && values[24] == 1.0f,
        "lost");
}

TEST_CASE("exp2_approx stays within its stated error and is not exact") {
  int num_inexact = 0;
  for (int i = -200000; i <= 200000; i++) {
    const float x = static_cast<float>(i) * 6e-4f;
    const double exact = std::exp2(double{x});
    const double error = std::abs(ptx::exp2_approx(x) - exact) / exact;
    CHECK(error < 0x1p-22 / std::sqrt(2.0),
          "error " + std::to_string(error * 0x1p22) + " of 2^-22 at " + std::to_string(x));
    CHECK(ptx::exp2_approx(x) == ptx::exp2_approx(x), "differs from call to call");
    if (error > 0x1p-24) num_inexact++;
  }
  CHECK(num_inexact > 100000, "too good");
  CHECK(ptx::exp2_approx(-INFINITY) == 0.0f && !std::signbit(ptx::exp2_approx(-INFINITY)), "2^-inf");
  CHECK(ptx::exp2_approx(INFINITY) == INFINITY && std::isnan(ptx::exp2_approx(NAN)), "2^inf, NaN");
  CHECK(ptx::exp2_approx(0.0f) == 1.0f && ptx::exp2_approx(-127.5f) == 0.0f,
        "2^0, flushed subnormal results");
}

}  // namespace
}  // namespace elasticlm::test

#else

#include <cstdio>

#include "test/check.h"

TEST_CASE("the emulator: fragments") { std::printf("skipped: not in this build\n"); }

#endif
