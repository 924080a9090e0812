// Both implementations of attention on a GPU against f64, over records as a plan writes them: sequences of
// several structures among rows, columns and heads that are poison.
#include "kernels/cuda/attention.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "test/cuda/device_test.h"

#if defined(ELASTICLM_EMULATED)
#include "emulator/emulator.h"
#endif

namespace elasticlm::test {
namespace {

using cuda::AttentionGroup;
using cuda::AttentionStep;
using cuda::AttentionTile;
using cuda::DeviceAttentionArgs;
using cuda::LaunchContext;

struct Kernel {
  const char* name;
  void (*forward)(const DeviceAttentionArgs&, const LaunchContext&);
};
constexpr Kernel kMma = {"mma", cuda::attention_mma_forward};
constexpr Kernel kReference = {"reference", cuda::attention_reference_forward};

std::vector<Kernel> kernels_for(DType dtype) {
  return dtype == DType::kF32 ? std::vector<Kernel>{kReference} : std::vector<Kernel>{kReference, kMma};
}

struct Sequence {
  int64_t num_rows = 0;
  int64_t structure = 0;
  int64_t row_begin = 0;
};

// One element of q (part 0), k (1) or v (2).
struct Place {
  int64_t sequence;
  int64_t head;
  int64_t row;
  int64_t part;
  int64_t d;
};

// Sequences of structures that keep heads[i] heads each, and what a plan says of them. Between two sequences
// stand up to three rows that belong to nobody.
class Batch {
 public:
  Batch(DType dtype, int64_t head_dim, std::vector<int64_t> heads, std::vector<Sequence> sequences,
        Random& random)
      : head_dim_(head_dim), heads_(std::move(heads)), sequences_(std::move(sequences)) {
    int64_t num_rows = 0;
    for (Sequence& sequence : sequences_) {
      sequence.row_begin = num_rows + random.integer(0, 3);
      num_rows = sequence.row_begin + sequence.num_rows;
    }
    const int64_t most = std::max<int64_t>(1, *std::max_element(heads_.begin(), heads_.end()));
    qkv_ = std::make_unique<HostMatrix>(dtype, num_rows, most * 3 * head_dim, most * 3 * head_dim + 8);
    context_ = std::make_unique<HostMatrix>(dtype, num_rows, most * head_dim, most * head_dim + 16);
    write_records(random);
  }

  void fill(const std::function<float(const Place&)>& value) {
    for_each_row([&](int64_t s, int64_t h, int64_t row) {
      for (int64_t part = 0; part < 3; ++part) {
        for (int64_t d = 0; d < head_dim_; ++d) {
          const Sequence& sequence = sequences_[static_cast<size_t>(s)];
          qkv_->set(sequence.row_begin + row, (3 * h + part) * head_dim_ + d, value({s, h, row, part, d}));
        }
      }
    });
  }
  void fill_normal(Random& random) {
    fill([&](const Place&) { return random.normal(); });
  }

  // Of every row and kept head, D elements each.
  void for_each_row(const std::function<void(int64_t sequence, int64_t head, int64_t row)>& action) const {
    for (size_t s = 0; s < sequences_.size(); ++s) {
      for (int64_t h = 0; h < heads_of(s); ++h) {
        for (int64_t row = 0; row < sequences_[s].num_rows; ++row) action(static_cast<int64_t>(s), h, row);
      }
    }
  }

  // The contexts in the order of for_each_row. Fails if the kernel wrote anything else.
  std::vector<float> run(const Kernel& kernel, int num_sms) const {
    const DeviceMemory qkv = qkv_->upload();
    const DeviceMemory context = context_->upload();
    const DeviceArray<AttentionStep> step(std::vector<AttentionStep>{step_});
    const DeviceArray<AttentionGroup> groups(groups_);
    const DeviceArray<AttentionTile> tiles(tiles_);
    LaunchContext launch = device_context();
    if (num_sms > 0) launch.num_sms = num_sms;
    launch.max_rows = qkv_->rows() + 100;
    launch.max_attention_tiles = static_cast<int64_t>(tiles_.size()) + 7;
    DeviceAttentionArgs args;
    args.dtype = qkv_->dtype();
    args.head_dim = head_dim_;
    args.qkv = qkv_->view(qkv).data;
    args.context = context_->view(context).data;
    args.ldqkv = qkv_->ld();
    args.ldcontext = context_->ld();
    args.scale = scale();
    args.step = step.data();
    args.groups = groups.data();
    args.tiles = tiles.data();
    kernel.forward(args, launch);

    HostMatrix result = *context_;
    result.download(context);
    std::vector<float> values;
    std::vector<uint32_t> others = result.all_bits();
    for_each_row([&](int64_t s, int64_t h, int64_t row) {
      const int64_t at = sequences_[static_cast<size_t>(s)].row_begin + row;
      for (int64_t d = 0; d < head_dim_; ++d) {
        values.push_back(result.get(at, h * head_dim_ + d));
        others[result.at(at, h * head_dim_ + d)] = context_->bits(at, h * head_dim_ + d);
      }
    });
    CHECK(others == context_->all_bits(), std::string(kernel.name) + " wrote where it has no rows or heads");
    return values;
  }

  // In f64; and as a plain program would compute it, with weights and context rounded to the element type
  // (scores are never stored by any attention that streams its keys).
  DeviceTruth truth() const {
    DeviceTruth truth;
    std::vector<float> head;  // [S, 3 D]
    for_each_row([&](int64_t s, int64_t h, int64_t row) {
      if (row == 0) head = head_of(s, h);
      const std::vector<float> naive = context_of<float>(head, row);
      const std::vector<double> exact = context_of<double>(head, row);
      truth.naive.insert(truth.naive.end(), naive.begin(), naive.end());
      truth.f64.insert(truth.f64.end(), exact.begin(), exact.end());
    });
    truth.shape = {static_cast<int64_t>(truth.f64.size()) / head_dim_, head_dim_};
    return truth;
  }

  DType dtype() const { return qkv_->dtype(); }
  int64_t head_dim() const { return head_dim_; }
  int64_t heads_of(size_t sequence) const {
    return heads_[static_cast<size_t>(sequences_[sequence].structure)];
  }
  const std::vector<Sequence>& sequences() const { return sequences_; }
  const std::vector<int64_t>& heads() const { return heads_; }
  float at(const Place& place) const {
    return qkv_->get(sequences_[static_cast<size_t>(place.sequence)].row_begin + place.row,
                     (3 * place.head + place.part) * head_dim_ + place.d);
  }

 private:
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(head_dim_)); }

  // Groups and tiles do not begin at the front of their arrays, and the groups stand in random order.
  void write_records(Random& random) {
    groups_.resize(2);
    tiles_.resize(3);
    step_.group_begin = 2;
    const size_t rotation = static_cast<size_t>(random.integer(0, static_cast<int64_t>(heads_.size()) - 1));
    for (size_t i = 0; i < heads_.size(); ++i) {
      const size_t structure = (i + rotation) % heads_.size();
      const auto tile_begin = static_cast<int32_t>(tiles_.size());
      for (const Sequence& sequence : sequences_) {
        if (sequence.structure != static_cast<int64_t>(structure)) continue;
        for (int64_t query = 0; query < sequence.num_rows; query += cuda::kAttentionQueries) {
          tiles_.push_back({.row_begin = static_cast<int32_t>(sequence.row_begin),
                            .num_rows = static_cast<int32_t>(sequence.num_rows),
                            .query_begin = static_cast<int32_t>(query)});
        }
      }
      std::stable_sort(
          tiles_.begin() + tile_begin, tiles_.end(),
          [](const AttentionTile& a, const AttentionTile& b) { return a.num_rows > b.num_rows; });
      const AttentionGroup group = {.tile_begin = tile_begin,
                                    .num_tiles = static_cast<int32_t>(tiles_.size()) - tile_begin,
                                    .num_heads = static_cast<int32_t>(heads_[structure]),
                                    .item_begin = step_.num_items};
      step_.num_items += group.num_tiles * group.num_heads;
      groups_.push_back(group);
    }
    step_.num_groups = static_cast<int32_t>(heads_.size());
  }

  std::vector<float> head_of(int64_t s, int64_t h) const {
    std::vector<float> head;
    for (int64_t row = 0; row < sequences_[static_cast<size_t>(s)].num_rows; ++row) {
      for (int64_t part = 0; part < 3; ++part) {
        for (int64_t d = 0; d < head_dim_; ++d) head.push_back(at({s, h, row, part, d}));
      }
    }
    return head;
  }

  // Real: float is the naive path, double the truth.
  template <typename Real>
  std::vector<Real> context_of(const std::vector<float>& head, int64_t row) const {
    const int64_t num_rows = static_cast<int64_t>(head.size()) / (3 * head_dim_);
    const auto stored = [&](Real value) {
      return std::is_same_v<Real, double> ? value
                                          : static_cast<Real>(rounded(dtype(), static_cast<float>(value)));
    };
    const float* q = head.data() + row * 3 * head_dim_;
    std::vector<Real> weights;
    for (int64_t key = 0; key < num_rows; ++key) {
      const float* k = head.data() + (key * 3 + 1) * head_dim_;
      Real score = 0;
      for (int64_t d = 0; d < head_dim_; ++d) score += static_cast<Real>(q[d]) * static_cast<Real>(k[d]);
      weights.push_back(score * static_cast<Real>(scale()));
    }
    const Real largest = *std::max_element(weights.begin(), weights.end());
    Real sum = 0;
    for (Real& weight : weights) {
      weight = std::exp(weight - largest);
      sum += weight;
    }
    std::vector<Real> context(static_cast<size_t>(head_dim_));
    for (int64_t key = 0; key < num_rows; ++key) {
      const float* v = head.data() + (key * 3 + 2) * head_dim_;
      const Real weight = stored(weights[static_cast<size_t>(key)]);
      for (int64_t d = 0; d < head_dim_; ++d) {
        context[static_cast<size_t>(d)] += weight * static_cast<Real>(v[d]);
      }
    }
    for (Real& value : context) value = stored(value / sum);
    return context;
  }

  int64_t head_dim_;
  std::vector<int64_t> heads_;  // kept, by structure
  std::vector<Sequence> sequences_;
  std::unique_ptr<HostMatrix> qkv_;
  std::unique_ptr<HostMatrix> context_;
  AttentionStep step_;
  std::vector<AttentionGroup> groups_;
  std::vector<AttentionTile> tiles_;
};

std::string name_of(const Kernel& kernel, const Batch& batch) {
  return std::string(kernel.name) + " " + dtype_name(batch.dtype()) +
         " D=" + std::to_string(batch.head_dim());
}

// On the device's own number of SMs and, where there is more than one sequence, on one alone: each block has
// many items then.
void check_exact(const Batch& batch, const std::string& what) {
  const DeviceTruth truth = batch.truth();
  for (const Kernel& kernel : kernels_for(batch.dtype())) {
    const std::vector<float> first = batch.run(kernel, 0);
    check_close(first, truth, batch.dtype(), name_of(kernel, batch) + ", " + what + " (row of a head, d)");
    CHECK(batch.sequences().size() == 1 || batch.run(kernel, 1) == first,
          name_of(kernel, batch) + ", " + what + ": other bits on one SM");
  }
}

void for_each_type(const std::function<void(DType dtype, int64_t head_dim)>& action) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const int64_t head_dim : {32, 64}) action(dtype, head_dim);
  }
}

TEST_CASE(
    "attention on a GPU: every remainder of sequence length, structures of several sizes in one batch") {
  for_each_type([](DType dtype, int64_t head_dim) {
    Random random(1);
    std::vector<Sequence> sequences;
    for (int64_t rows = 1; rows <= 36; ++rows) sequences.push_back({rows, random.integer(0, 3)});
    for (const int64_t rows :
         {47, 48, 49, 63, 64, 65, 79, 80, 81, 95, 97, 112, 127, 128, 129, 143, 191, 193, 200}) {
      sequences.push_back({rows, random.integer(0, 3)});
    }
    Batch batch(dtype, head_dim, {3, 1, 0, 2}, sequences, random);
    batch.fill_normal(random);
    check_exact(batch, "lengths up to 200");
  });
}

TEST_CASE("attention on a GPU: a sequence of 512 tokens") {
  for_each_type([](DType dtype, int64_t head_dim) {
    Random random(2);
    Batch batch(dtype, head_dim, {1}, {{512, 0}}, random);
    batch.fill_normal(random);
    check_exact(batch, "512 tokens");
  });
}

TEST_CASE("attention on a GPU: batches of random structures") {
  for (int trial = 0; trial < 12; ++trial) {
    Random random(static_cast<uint64_t>(100 + trial));
#if defined(ELASTICLM_EMULATED)
    emulator::set_seed(static_cast<uint64_t>(trial));
#endif
    std::vector<int64_t> heads;
    for (int64_t i = random.integer(1, 6); i > 0; --i) heads.push_back(random.integer(0, 4));
    std::vector<Sequence> sequences;
    for (int64_t i = random.integer(1, 14); i > 0; --i) {
      sequences.push_back({random.integer(1, random.integer(0, 2) == 0 ? 150 : 32),
                           random.integer(0, static_cast<int64_t>(heads.size()) - 1)});
    }
    Batch batch(kHalfTypes[trial % 2], trial / 2 % 2 == 0 ? 32 : 64, heads, sequences, random);
    batch.fill_normal(random);
    check_exact(batch, "trial " + std::to_string(trial));
  }
}

TEST_CASE("attention on a GPU: no sequences, no heads") {
  for_each_type([](DType dtype, int64_t head_dim) {
    Random random(3);
    Batch nothing(dtype, head_dim, {0, 0}, {{5, 0}, {70, 1}}, random);
    Batch nobody(dtype, head_dim, {2}, {{0, 0}}, random);
    for (const Kernel& kernel : kernels_for(dtype)) {
      CHECK(nothing.run(kernel, 0).empty(), "no heads have no context");
      CHECK(nobody.run(kernel, 0).empty(), "no rows have no context");
    }
  });
}

TEST_CASE("attention on a GPU: a sequence has the same bits alone and in any batch") {
  for (const DType dtype : kHalfTypes) {
    for (const int64_t head_dim : {32, 64}) {
      Random random(4);
      std::vector<Sequence> sequences;
      for (const int64_t rows : {1, 7, 16, 17, 31, 32, 33, 64, 65, 100, 130, 9, 12, 20}) {
        sequences.push_back({rows, random.integer(0, 1)});
      }
      Batch batch(dtype, head_dim, {2, 1}, sequences, random);
      batch.fill_normal(random);
      for (const Kernel& kernel : kernels_for(dtype)) {
        const std::vector<float> together = batch.run(kernel, 1);
        auto next = together.begin();
        for (size_t s = 0; s < sequences.size(); ++s) {
          Batch alone(dtype, head_dim, {batch.heads_of(s)}, {{sequences[s].num_rows, 0}}, random);
          alone.fill([&](const Place& place) {
            Place there = place;
            there.sequence = static_cast<int64_t>(s);
            return batch.at(there);
          });
          const std::vector<float> expected = alone.run(kernel, 0);
          CHECK(std::equal(expected.begin(), expected.end(), next),
                name_of(kernel, batch) +
                    ": other bits in a batch at S=" + std::to_string(sequences[s].num_rows));
          next += static_cast<std::ptrdiff_t>(expected.size());
        }
      }
    }
  }
}

TEST_CASE("attention on a GPU: equal scores average the values") {
  for_each_type([](DType dtype, int64_t head_dim) {
    Random random(5);
    Batch batch(dtype, head_dim, {1, 2}, {{1, 0}, {3, 1}, {16, 0}, {17, 1}, {48, 0}, {100, 1}}, random);
    batch.fill([&](const Place& place) {
      return place.part == 0 ? 1.0f : place.part == 1 ? 2.0f : random.normal();
    });
    check_exact(batch, "equal scores");
  });
}

// Whole numbers, so that products and sums are exact: what is tested is the exponent's range, not the sum's
// rounding. The first component tells keys apart.
TEST_CASE("attention on a GPU: scores of ten thousand neither overflow nor lose their order") {
  for (const float sign : {1.0f, -1.0f}) {
    for_each_type([&](DType dtype, int64_t head_dim) {
      Random random(6);
      Batch batch(dtype, head_dim, {2}, {{5, 0}, {67, 0}, {140, 0}}, random);
      const float size = head_dim == 32 ? 42.0f : 35.0f;  // D · size² / sqrt(D) is about 10,000
      batch.fill([&](const Place& place) {
        if (place.part == 2) return random.normal();
        if (place.d == 0) return place.part == 0 ? 1.0f : static_cast<float>(random.integer(0, 20));
        return place.part == 0 ? size : sign * size;
      });
      check_exact(batch, sign > 0 ? "scores of +1e4" : "scores of -1e4");
    });
  }
}

TEST_CASE("attention on a GPU: one dominant key takes all the weight, wherever it stands") {
  for_each_type([](DType dtype, int64_t head_dim) {
    for (const int64_t dominant : {0, 15, 16, 63, 64, 69}) {
      Random random(7);
      Batch batch(dtype, head_dim, {1}, {{70, 0}}, random);
      batch.fill([&](const Place& place) {
        if (place.part == 2) return random.normal();
        return place.part == 0 ? 10.0f : place.row == dominant ? 100.0f : -100.0f;
      });
      for (const Kernel& kernel : kernels_for(dtype)) {
        const std::vector<float> context = batch.run(kernel, 0);
        for (size_t i = 0; i < context.size(); ++i) {
          const float expected = batch.at({0, 0, dominant, 2, static_cast<int64_t>(i) % head_dim});
          CHECK(context[i] == expected,
                name_of(kernel, batch) + " mixed in other keys than " + std::to_string(dominant));
        }
      }
    }
  });
}

TEST_CASE("attention on a GPU: NaN in one sequence stays there") {
  for (const DType dtype : kHalfTypes) {
    for (const int64_t head_dim : {32, 64}) {
      Random random(8);
      const std::vector<Sequence> sequences = {{5, 0}, {9, 0}, {40, 0}, {70, 0}, {130, 0}, {3, 0}};
      Batch batch(dtype, head_dim, {2}, sequences, random);
      batch.fill_normal(random);
      const std::vector<float> before = batch.run(kMma, 1);
      batch.fill([&](const Place& place) { return place.sequence % 2 == 0 ? NAN : batch.at(place); });
      const std::vector<float> after = batch.run(kMma, 1);
      size_t i = 0;
      batch.for_each_row([&](int64_t s, int64_t, int64_t) {
        for (int64_t d = 0; d < head_dim; ++d, ++i) {
          CHECK(
              s % 2 == 0 ? std::isnan(after[i]) : after[i] == before[i],
              name_of(kMma, batch) + ": NaN left its sequence or was lost, at sequence " + std::to_string(s));
        }
      });
    }
  }
}

}  // namespace
}  // namespace elasticlm::test
