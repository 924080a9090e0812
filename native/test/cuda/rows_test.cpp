// The kernels that work on whole rows, against f64: every size of a row that a lane's chunks split
// differently, fewer rows than the launch was sized for, guards around every matrix.
#include "kernels/cuda/rows.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "test/cuda/device_test.h"

namespace elasticlm::test {
namespace {

using cuda::LaunchContext;
using cuda::PlanHeader;
using cuda::SequenceRecord;

constexpr DType kAllTypes[] = {DType::kF32, DType::kF16, DType::kBF16};
// One chunk; fewer chunks than lanes; some lanes with one more than others; the models' 384, 768 and 1024;
// longer than what stays in registers.
constexpr int64_t kSizes[] = {8, 96, 256, 264, 352, 384, 768, 1024, 1032, 1568};

std::string name_of(DType dtype, int64_t size) {
  return std::string(dtype_name(dtype)) + " E=" + std::to_string(size);
}

// Records may say less than the launch's bounds.
LaunchContext context_for(int64_t max_rows, int num_sms = 0) {
  LaunchContext context = device_context();
  if (num_sms > 0) context.num_sms = num_sms;
  context.max_rows = max_rows;
  context.max_sequences = max_rows;
  return context;
}

DeviceArray<PlanHeader> header_of(int64_t num_rows, int64_t num_sequences) {
  return DeviceArray<PlanHeader>(std::vector<PlanHeader>{
      {.num_rows = static_cast<int32_t>(num_rows), .num_sequences = static_cast<int32_t>(num_sequences)}});
}

std::vector<float> normal_values(int64_t size, Random& random) {
  std::vector<float> values(static_cast<size_t>(size));
  for (float& value : values) value = random.normal();
  return values;
}

// A matrix whose first `num_rows` rows are filled; a row in three has a mean far from zero.
HostMatrix filled(DType dtype, int64_t rows, int64_t num_rows, int64_t columns, Random& random) {
  HostMatrix matrix(dtype, rows, columns, columns + 8);
  for (int64_t row = 0; row < num_rows; ++row) {
    const float mean = row % 3 == 1 ? 7.0f : 0.0f;
    for (int64_t c = 0; c < columns; ++c) matrix.set(row, c, mean + random.normal());
  }
  return matrix;
}

struct Norm {
  std::vector<float> gamma;
  std::vector<float> beta;
  float eps = 1e-5f;
};

Norm normal_norm(int64_t size, Random& random) {
  return {.gamma = normal_values(size, random), .beta = normal_values(size, random)};
}

// LayerNorm of one row in Real: double for the truth, float for the naive path, whose result is rounded to
// the element type.
template <typename Real>
void add_layer_norm(const std::vector<Real>& x, const Norm& norm, std::vector<Real>& out) {
  const Real size = static_cast<Real>(x.size());
  const Real mean = std::accumulate(x.begin(), x.end(), Real{0}) / size;
  Real squares = 0;
  for (const Real value : x) squares += (value - mean) * (value - mean);
  const Real gain = Real{1} / std::sqrt(squares / size + norm.eps);
  for (size_t i = 0; i < x.size(); ++i) out.push_back((x[i] - mean) * gain * norm.gamma[i] + norm.beta[i]);
}

class RowTruth {
 public:
  RowTruth(DType dtype, int64_t size) : dtype_(dtype) { truth_.shape = {0, size}; }
  // `x` gives element i of the row in either type.
  template <typename Get>
  void add(int64_t size, const Get& x, const Norm& norm) {
    std::vector<double> exact;
    std::vector<float> single;
    for (int64_t i = 0; i < size; ++i) {
      exact.push_back(x.template operator()<double>(i));
      single.push_back(x.template operator()<float>(i));
    }
    add_layer_norm(exact, norm, truth_.f64);
    add_layer_norm(single, norm, truth_.naive);
    for (size_t i = truth_.naive.size() - single.size(); i < truth_.naive.size(); ++i) {
      truth_.naive[i] = rounded(dtype_, truth_.naive[i]);
    }
    ++truth_.shape[0];
  }
  const DeviceTruth& get() const { return truth_; }

 private:
  DType dtype_;
  DeviceTruth truth_;
};

// The first `num_rows` rows of `result`; fails if anything else differs from `before`.
std::vector<float> rows_of(const HostMatrix& result, const HostMatrix& before, int64_t num_rows,
                           const std::string& what) {
  std::vector<float> values;
  std::vector<uint32_t> others = result.all_bits();
  for (int64_t row = 0; row < num_rows; ++row) {
    for (int64_t c = 0; c < result.columns(); ++c) {
      values.push_back(result.get(row, c));
      others[result.at(row, c)] = before.bits(row, c);
    }
  }
  CHECK(others == before.all_bits(), what + " wrote outside of its rows and columns");
  return values;
}

std::vector<float> layer_norm(const HostMatrix& x, const Norm& norm, int64_t num_rows,
                              const LaunchContext& context) {
  const DeviceMemory y = x.upload();
  const DeviceArray<float> gamma(norm.gamma);
  const DeviceArray<float> beta(norm.beta);
  const DeviceArray<PlanHeader> header = header_of(num_rows, 1);
  device_layer_norm_forward({.dtype = x.dtype(),
                             .gamma = gamma.data(),
                             .beta = beta.data(),
                             .header = header.data(),
                             .y = x.view(y).data,
                             .hidden_size = x.columns(),
                             .ldy = x.ld(),
                             .eps = norm.eps},
                            context);
  HostMatrix result = x;
  result.download(y);
  return rows_of(result, x, num_rows, "layer_norm " + name_of(x.dtype(), x.columns()));
}

TEST_CASE("layer_norm on a GPU: every size of a row, in place") {
  for (const DType dtype : kAllTypes) {
    for (const int64_t size : kSizes) {
      Random random(static_cast<uint64_t>(size));
      for (const int64_t num_rows : {0, 1, 21}) {
        const HostMatrix x = filled(dtype, 24, num_rows, size, random);
        const Norm norm = normal_norm(size, random);
        RowTruth truth(dtype, size);
        for (int64_t row = 0; row < num_rows; ++row) {
          truth.add(
              size, [&]<typename Real>(int64_t i) { return static_cast<Real>(x.get(row, i)); }, norm);
        }
        check_close(layer_norm(x, norm, num_rows, context_for(24)), truth.get(), dtype,
                    "layer_norm " + name_of(dtype, size) + " (row, e)");
      }
    }
  }
}

TEST_CASE("layer_norm on a GPU: equal elements give beta, and a row's bits do not depend on the others") {
  for (const DType dtype : kAllTypes) {
    for (const int64_t size : {352, 1568}) {
      Random random(2);
      HostMatrix x = filled(dtype, 60, 60, size, random);
      const Norm norm = normal_norm(size, random);
      for (int64_t c = 0; c < size; ++c) {
        x.set(3, c, 0.5f);
        x.set(50, c, x.get(7, c));
      }
      const std::vector<float> together = layer_norm(x, norm, 60, context_for(60, 1));
      HostMatrix one(dtype, 1, size, size);
      for (int64_t c = 0; c < size; ++c) one.set(0, c, x.get(7, c));
      const std::vector<float> alone = layer_norm(one, norm, 1, context_for(60));
      for (int64_t c = 0; c < size; ++c) {
        const auto at = static_cast<size_t>(c);
        const auto row = static_cast<size_t>(size);
        CHECK(together[3 * row + at] == rounded(dtype, norm.beta[at]), name_of(dtype, size) + ": not beta");
        CHECK(same_bits(together[7 * row + at], alone[at]) && same_bits(together[50 * row + at], alone[at]),
              name_of(dtype, size) + ": other bits among other rows");
      }
    }
  }
}

TEST_CASE("embedding on a GPU: every size of a row, all tables") {
  for (const DType dtype : kAllTypes) {
    for (const int64_t size : kSizes) {
      constexpr int64_t kWords = 29;
      constexpr int64_t kPositions = 17;
      constexpr int64_t kTypes = 2;
      constexpr int64_t kRows = 19;
      Random random(static_cast<uint64_t>(size + 1));
      // Tables are as the checkpoint has them: no padding, unlike the test's matrices.
      const auto table = [&](int64_t rows) {
        HostMatrix matrix(dtype, rows, size, size);
        for (int64_t row = 0; row < rows; ++row) matrix.fill(random, row, 0, size, 1.0f);
        return matrix;
      };
      const HostMatrix words = table(kWords);
      const HostMatrix positions = table(kPositions);
      const HostMatrix types = table(kTypes);
      const auto ids = [&](int64_t count) {
        std::vector<int32_t> values;
        for (int64_t i = 0; i < kRows; ++i)
          values.push_back(static_cast<int32_t>(random.integer(0, count - 1)));
        return values;
      };
      const std::vector<int32_t> word_ids = ids(kWords);
      const std::vector<int32_t> position_ids = ids(kPositions);
      const std::vector<int32_t> type_ids = ids(kTypes);
      const Norm norm = normal_norm(size, random);
      RowTruth truth(dtype, size);
      for (size_t row = 0; row < kRows; ++row) {
        truth.add(
            size,
            [&]<typename Real>(int64_t i) {
              return static_cast<Real>(words.get(word_ids[row], i)) +
                     static_cast<Real>(positions.get(position_ids[row], i)) +
                     static_cast<Real>(types.get(type_ids[row], i));
            },
            norm);
      }

      const HostMatrix before(dtype, kRows + 2, size, size + 16);
      const DeviceMemory y = before.upload();
      const DeviceMemory device_words = words.upload();
      const DeviceMemory device_positions = positions.upload();
      const DeviceMemory device_types = types.upload();
      const DeviceArray<float> gamma(norm.gamma);
      const DeviceArray<float> beta(norm.beta);
      const DeviceArray<PlanHeader> header = header_of(kRows, 1);
      const DeviceArray<int32_t> device_word_ids(word_ids);
      const DeviceArray<int32_t> device_position_ids(position_ids);
      const DeviceArray<int32_t> device_type_ids(type_ids);
      device_embedding_forward({.dtype = dtype,
                                .word = words.view(device_words).data,
                                .position = positions.view(device_positions).data,
                                .token_type = types.view(device_types).data,
                                .gamma = gamma.data(),
                                .beta = beta.data(),
                                .header = header.data(),
                                .input_ids = device_word_ids.data(),
                                .position_ids = device_position_ids.data(),
                                .token_type_ids = device_type_ids.data(),
                                .y = before.view(y).data,
                                .hidden_size = size,
                                .ldy = before.ld(),
                                .eps = norm.eps},
                               context_for(kRows + 2));
      HostMatrix result = before;
      result.download(y);
      const std::string what = "embedding " + name_of(dtype, size);
      check_close(rows_of(result, before, kRows, what), truth.get(), dtype, what + " (row, e)");
    }
  }
}

struct Pooled {
  Pooling pooling;
  bool normalize;
};
constexpr Pooled kPooled[] = {
    {Pooling::kCls, false}, {Pooling::kCls, true}, {Pooling::kMean, false}, {Pooling::kMean, true}};

// Sequences of these lengths, one after another, in random places of the caller's batch.
std::vector<SequenceRecord> sequences_of(const std::vector<int64_t>& lengths, Random& random) {
  std::vector<SequenceRecord> records;
  int32_t row = 0;
  for (const int64_t length : lengths) {
    records.push_back({.row_begin = row,
                       .num_rows = static_cast<int32_t>(length),
                       .position = static_cast<int32_t>(records.size())});
    row += records.back().num_rows;
  }
  for (size_t i = records.size(); i > 1; --i) {
    std::swap(records[i - 1].position,
              records[static_cast<size_t>(random.integer(0, static_cast<int64_t>(i) - 1))].position);
  }
  return records;
}

// [B, E] in the caller's order.
std::vector<float> pool(const HostMatrix& x, const std::vector<SequenceRecord>& sequences, const Pooled& how,
                        const LaunchContext& context) {
  const DeviceMemory memory = x.upload();
  const DeviceArray<SequenceRecord> records(sequences);
  const DeviceArray<PlanHeader> header = header_of(x.rows(), static_cast<int64_t>(sequences.size()));
  // A row of guard behind the last.
  const size_t size = sequences.size() * static_cast<size_t>(x.columns());
  const DeviceArray<float> out(poisoned(static_cast<int64_t>(size) + x.columns()));
  device_pooling_forward({.dtype = x.dtype(),
                          .header = header.data(),
                          .sequences = records.data(),
                          .x = x.view(memory).data,
                          .out = out.data(),
                          .hidden_size = x.columns(),
                          .ldx = x.ld(),
                          .pooling = how.pooling,
                          .normalize = how.normalize},
                         context);
  std::vector<float> values = out.values();
  CHECK(std::all_of(values.begin() + static_cast<std::ptrdiff_t>(size), values.end(), is_poison),
        "pooling wrote past its last vector");
  values.resize(size);
  return values;
}

template <typename Real>
std::vector<Real> pooled_truth(const HostMatrix& x, const std::vector<SequenceRecord>& sequences,
                               const Pooled& how) {
  const int64_t size = x.columns();
  std::vector<Real> out(sequences.size() * static_cast<size_t>(size));
  for (const SequenceRecord& sequence : sequences) {
    const int64_t count = how.pooling == Pooling::kCls ? 1 : sequence.num_rows;
    Real* y = out.data() + sequence.position * size;
    Real squares = 0;
    for (int64_t e = 0; e < size; ++e) {
      for (int64_t row = 0; row < count; ++row) y[e] += static_cast<Real>(x.get(sequence.row_begin + row, e));
      y[e] /= static_cast<Real>(count);
      squares += y[e] * y[e];
    }
    if (!how.normalize || squares == 0) continue;
    for (int64_t e = 0; e < size; ++e) y[e] /= std::sqrt(squares);
  }
  return out;
}

TEST_CASE("pooling on a GPU: first rows and means, with and without their norm, each to its place") {
  for (const DType dtype : kAllTypes) {
    for (const int64_t size : {8, 96, 352, 768, 4104}) {
      Random random(static_cast<uint64_t>(size + 2));
      const std::vector<SequenceRecord> sequences = sequences_of({1, 2, 9, 33, 1, 130, 5}, random);
      const HostMatrix x = filled(dtype, 181, 181, size, random);
      for (const Pooled& how : kPooled) {
        const DeviceTruth truth = {.f64 = pooled_truth<double>(x, sequences, how),
                                   .naive = pooled_truth<float>(x, sequences, how),
                                   .shape = {static_cast<int64_t>(sequences.size()), size}};
        // Vectors leave as f32, and so does the naive path's.
        check_close(pool(x, sequences, how, context_for(200)), truth, DType::kF32,
                    "pooling " + name_of(dtype, size) + " (sequence, e)");
      }
    }
  }
}

TEST_CASE("pooling on a GPU: a zero vector stays zero, and no batch is no work") {
  HostMatrix x(DType::kBF16, 6, 96, 96);
  for (int64_t row = 0; row < 6; ++row) {
    for (int64_t c = 0; c < 96; ++c) x.set(row, c, row < 3 ? 0.0f : 2.0f);
  }
  Random random(3);
  const std::vector<SequenceRecord> sequences = sequences_of({3, 3}, random);
  for (const Pooled& how : kPooled) {
    const std::vector<float> out = pool(x, sequences, how, context_for(6));
    for (int64_t c = 0; c < 96; ++c) {
      CHECK(out[static_cast<size_t>(sequences[0].position * 96 + c)] == 0.0f,
            "a zero vector did not stay zero");
    }
    pool(x, {}, how, context_for(6));
  }
}

TEST_CASE("pooling on a GPU: a sequence has the same bits alone and in a batch on one SM") {
  for (const DType dtype : kAllTypes) {
    for (const int64_t size : {96, 384}) {
      Random random(4);
      const std::vector<SequenceRecord> sequences = sequences_of({40, 7, 61, 1, 13, 29}, random);
      const HostMatrix x = filled(dtype, 151, 151, size, random);
      const Pooled how = {Pooling::kMean, true};
      const std::vector<float> together = pool(x, sequences, how, context_for(151, 1));
      for (const SequenceRecord& sequence : sequences) {
        HostMatrix own(dtype, sequence.num_rows, size, size + 24);
        for (int64_t row = 0; row < sequence.num_rows; ++row) {
          for (int64_t c = 0; c < size; ++c) own.set(row, c, x.get(sequence.row_begin + row, c));
        }
        const std::vector<float> alone = pool(own, {{.num_rows = sequence.num_rows}}, how, context_for(151));
        CHECK(std::equal(alone.begin(), alone.end(), together.begin() + sequence.position * size),
              name_of(dtype, size) + ": other bits in a batch at S=" + std::to_string(sequence.num_rows));
      }
    }
  }
}

TEST_CASE("first_rows on a GPU: row i is the first of sequence i, whole and nothing else") {
  for (const DType dtype : kAllTypes) {
    for (const int64_t size : {8, 352, 768}) {
      Random random(5);
      const std::vector<SequenceRecord> sequences = sequences_of({2, 1, 30, 4, 4, 9, 1, 1, 1, 3, 2}, random);
      const HostMatrix x = filled(dtype, 58, 58, size, random);
      const DeviceMemory source = x.upload();
      const HostMatrix before(dtype, 20, size, size + 8);
      const DeviceMemory target = before.upload();
      const DeviceArray<SequenceRecord> records(sequences);
      const DeviceArray<PlanHeader> header = header_of(58, static_cast<int64_t>(sequences.size()));
      device_first_rows({.dtype = dtype,
                         .header = header.data(),
                         .sequences = records.data(),
                         .x = x.view(source).data,
                         .y = before.view(target).data,
                         .hidden_size = size,
                         .ldx = x.ld(),
                         .ldy = before.ld()},
                        context_for(20));
      HostMatrix expected = before;
      for (size_t i = 0; i < sequences.size(); ++i) {
        for (int64_t c = 0; c < size; ++c) {
          expected.set(static_cast<int64_t>(i), c, x.get(sequences[i].row_begin, c));
        }
      }
      HostMatrix result = before;
      result.download(target);
      CHECK(result.all_bits() == expected.all_bits(),
            "first_rows " + name_of(dtype, size) + " copied something else");
    }
  }
}

TEST_CASE("widen_rows on a GPU: each row to its place in the batch, whatever its length") {
  for (const DType dtype : kAllTypes) {
    for (const int64_t columns : {1, 3, 8, 12, 352}) {
      Random random(6);
      constexpr int64_t kRows = 37;
      HostMatrix x(dtype, 40, columns, (columns + 7) / 8 * 8 + 8);
      for (int64_t row = 0; row < kRows; ++row) x.fill(random, row, 0, columns, 3.0f);
      std::vector<int32_t> places(kRows);
      std::iota(places.begin(), places.end(), 0);
      for (size_t i = places.size(); i > 1; --i) {
        std::swap(places[i - 1], places[static_cast<size_t>(random.integer(0, static_cast<int64_t>(i) - 1))]);
      }
      const DeviceMemory memory = x.upload();
      const DeviceArray<int32_t> batch_rows(places);
      const DeviceArray<int32_t> num_rows(std::vector<int32_t>{kRows});
      const DeviceArray<float> out(poisoned((kRows + 1) * columns));
      device_widen_rows({.dtype = dtype,
                         .num_rows = num_rows.data(),
                         .batch_rows = batch_rows.data(),
                         .x = x.view(memory).data,
                         .out = out.data(),
                         .columns = columns,
                         .ldx = x.ld()},
                        context_for(40));
      std::vector<float> expected = poisoned((kRows + 1) * columns);
      for (int64_t row = 0; row < kRows; ++row) {
        for (int64_t c = 0; c < columns; ++c) {
          expected[static_cast<size_t>(places[static_cast<size_t>(row)] * columns + c)] = x.get(row, c);
        }
      }
      const std::vector<float> values = out.values();
      for (size_t i = 0; i < values.size(); ++i) {
        CHECK(same_bits(values[i], expected[i]),
              "widen_rows " + std::string(dtype_name(dtype)) + ": element " + std::to_string(i) +
                  " of rows of " + std::to_string(columns) + " is " + std::to_string(values[i]));
      }
    }
  }
}

}  // namespace
}  // namespace elasticlm::test
