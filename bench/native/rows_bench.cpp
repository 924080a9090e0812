// What one row costs in the steps between two linear layers: LayerNorm, embedding, quantisation.
//
//   rows_bench [ISA]
//
// An empty or missing ISA is every supported one. One JSON object per line: op, columns, the precision of the
// operand rows that it writes, rows of a call (8, which stay in a 32 KB L1 cache, or 128), nanoseconds of
// processor time per row (best and median). LayerNorm works in place, as in an encoder.
#include <time.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string_view>
#include <vector>

#include "core/aligned_buffer.h"
#include "kernels/kernel_table.h"

namespace elasticlm {
namespace {

constexpr int64_t kRowCounts[] = {8, 128};
constexpr int64_t kVocabSize = 128;       // of words that are in cache
constexpr int64_t kRowsPerSample = 1024;  // 30 us or more: long beside reading the clock
constexpr double kSampleSeconds = 0.1;    // of all samples together

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

struct Subject {
  const KernelTable& kernels;
  Precision operand;
  int64_t num_rows;
  int64_t columns;
};

template <typename Work>
void report(const Subject& subject, const char* op, const Work& work) {
  work();
  std::vector<double> samples;
  const double begin = thread_seconds();
  while (thread_seconds() - begin < kSampleSeconds) {
    const double start = thread_seconds();
    for (int64_t row = 0; row < kRowsPerSample; row += subject.num_rows) work();
    samples.push_back((thread_seconds() - start) / kRowsPerSample);
  }
  std::ranges::sort(samples);
  std::printf(
      "{\"op\":\"%s\",\"isa\":\"%s\",\"columns\":%lld,\"operand\":\"%s\",\"rows\":%lld,\"bestNs\":%.1f,"
      "\"medianNs\":%.1f}\n",
      op, isa_name(subject.kernels.isa), static_cast<long long>(subject.columns),
      precision_name(subject.operand), static_cast<long long>(subject.num_rows), samples.front() * 1e9,
      samples[samples.size() / 2] * 1e9);
  std::fflush(stdout);
}

AlignedBuffer random_values(std::mt19937& random, int64_t size) {
  AlignedBuffer values(static_cast<size_t>(size));
  std::normal_distribution<float> normal;
  for (size_t i = 0; i < values.size(); ++i) values.data()[i] = normal(random);
  return values;
}

struct Operand {
  explicit Operand(const Subject& subject)
      : words(static_cast<size_t>(subject.num_rows * words_of(subject.columns, subject.operand))),
        scales(static_cast<size_t>(subject.num_rows)),
        rows{.precision = subject.operand,
             .data = words.data(),
             .scales = scales.data(),
             .ld = words_of(subject.columns, subject.operand) * word_elements(subject.operand)} {}
  AlignedBuffer words;
  std::vector<RowScale> scales;
  OperandRows rows;
};

void bench_normalised(const Subject& subject) {
  std::mt19937 random(1);
  const int64_t columns = subject.columns;
  AlignedBuffer y = random_values(random, subject.num_rows * columns);
  const AlignedBuffer gamma = random_values(random, columns);
  const AlignedBuffer beta = random_values(random, columns);
  const Operand operand(subject);
  report(subject, "layer_norm_forward", [&] {
    subject.kernels.layer_norm_forward({.x = y.data(),
                                        .gamma = gamma.data(),
                                        .beta = beta.data(),
                                        .y = y.data(),
                                        .operand = operand.rows,
                                        .num_rows = subject.num_rows,
                                        .hidden_size = columns,
                                        .ldx = columns,
                                        .ldy = columns,
                                        .eps = 1e-12f});
  });

  const AlignedBuffer table = random_values(random, kVocabSize * columns);
  const EmbeddingTable view{reinterpret_cast<const std::byte*>(table.data()), DType::kF32};
  std::vector<int32_t> ids(static_cast<size_t>(subject.num_rows));
  std::vector<int32_t> positions(ids.size());
  const std::vector<int32_t> types(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<int32_t>(random() % kVocabSize);
    positions[i] = static_cast<int32_t>(i);
  }
  report(subject, "embedding_forward", [&] {
    subject.kernels.embedding_forward({.word = view,
                                       .position = view,
                                       .token_type = view,
                                       .input_ids = ids.data(),
                                       .position_ids = positions.data(),
                                       .token_type_ids = types.data(),
                                       .gamma = gamma.data(),
                                       .beta = beta.data(),
                                       .y = y.data(),
                                       .operand = operand.rows,
                                       .num_rows = subject.num_rows,
                                       .hidden_size = columns,
                                       .ldy = columns,
                                       .eps = 1e-12f});
  });
}

void bench_quantize(const Subject& subject) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<BF16> x(static_cast<size_t>(subject.num_rows * subject.columns));
  for (BF16& value : x) value.bits = f32_to_bf16(normal(random));
  const Operand operand(subject);
  report(subject, "quantize_forward", [&] {
    subject.kernels.quantize_forward({.x = x.data(),
                                      .y = operand.rows,
                                      .num_rows = subject.num_rows,
                                      .num_columns = subject.columns,
                                      .ldx = subject.columns});
  });
}

void run(Isa isa) {
  const KernelTable& kernels = kernel_table(isa);
  for (const int64_t num_rows : kRowCounts) {
    for (const int64_t columns : {384, 768}) {
      for (const Precision precision : {Precision::kF32, Precision::kBF16, Precision::kI8}) {
        bench_normalised({kernels, precision, num_rows, columns});
      }
    }
    for (const int64_t columns : {384, 1536, 3072}) {
      bench_quantize({kernels, Precision::kI8, num_rows, columns});
    }
  }
}

}  // namespace
}  // namespace elasticlm

int main(int argc, char** argv) {
  using namespace elasticlm;
  const std::string_view wanted = argc > 1 ? argv[1] : "";
  for (const Isa isa : {Isa::kGeneric, Isa::kNeon, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) {
    if (isa_supported(isa) && (wanted.empty() || wanted == isa_name(isa))) run(isa);
  }
  return 0;
}
