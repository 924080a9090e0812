#include "test/padded_rows.h"

namespace elasticlm::test {
namespace {

constexpr int64_t kVocabSize = 23;

std::vector<int32_t> random_ids(Random& random, int64_t num_rows, int64_t limit) {
  std::vector<int32_t> ids;
  for (int64_t row = 0; row < num_rows; ++row) {
    ids.push_back(static_cast<int32_t>(row == 0 ? limit - 1 : random.integer(0, limit - 1)));
  }
  return ids;
}

TEST_CASE("embedding_sum_forward: the three rows' sum, in that order, for every width") {
  Random random(1);
  for (int64_t size = 1; size <= 70; ++size) {
    const int64_t num_rows = size % 6;
    const std::vector<float> word = random_floats(random, kVocabSize * size);
    const std::vector<float> position = random_floats(random, 9 * size);
    const std::vector<float> token_type = random_floats(random, 2 * size);
    const std::vector<int32_t> input_ids = random_ids(random, num_rows, kVocabSize);
    const std::vector<int32_t> position_ids = random_ids(random, num_rows, 9);
    const std::vector<int32_t> token_type_ids = random_ids(random, num_rows, 2);
    for (const Isa isa : supported_isas()) {
      PaddedRows y(num_rows, size, 3);
      EmbeddingSumArgs args;
      args.word = word.data();
      args.position = position.data();
      args.token_type = token_type.data();
      args.input_ids = input_ids.data();
      args.position_ids = position_ids.data();
      args.token_type_ids = token_type_ids.data();
      args.y = y.data();
      args.num_rows = num_rows;
      args.hidden_size = size;
      args.ldy = y.ld;
      training_kernels(isa).embedding_sum_forward(args);
      y.for_each([&](int64_t row, int64_t e) {
        const auto r = static_cast<size_t>(row);
        const auto at = [&](const std::vector<float>& table, const std::vector<int32_t>& ids) {
          return table[static_cast<size_t>(ids[r] * size + e)];
        };
        const float expected =
            at(word, input_ids) + at(position, position_ids) + at(token_type, token_type_ids);
        CHECK(same_bits(y.at(row, e), expected), std::string(isa_name(isa)) + " (" + std::to_string(row) +
                                                     ", " + std::to_string(e) + "): received " +
                                                     std::to_string(y.at(row, e)) + ", expected " +
                                                     std::to_string(expected) + ", no tolerance");
      });
      y.check_padding(isa_name(isa));
    }
  }
}

struct BackwardCase {
  int64_t size;
  std::vector<int32_t> ids;
  PaddedRows dy;
  std::vector<float> initial;

  BackwardCase(Random& random, int64_t num_rows, int64_t hidden_size)
      : size(hidden_size),
        ids(random_ids(random, num_rows, kVocabSize)),
        dy(random_padded_rows(random, num_rows, hidden_size, 5)),
        initial(random_floats(random, kVocabSize * hidden_size)) {}

  EmbeddingBackwardArgs args(std::vector<float>& dtable) const {
    EmbeddingBackwardArgs args;
    args.ids = ids.data();
    args.dy = dy.values.data();
    args.dtable = dtable.data();
    args.num_rows = dy.num_rows;
    args.hidden_size = size;
    args.column_end = size;
    args.lddy = dy.ld;
    return args;
  }

  // Each element is a chain of f32 additions in the order of the rows.
  std::vector<float> expected() const {
    std::vector<float> dtable = initial;
    dy.for_each([&](int64_t row, int64_t e) {
      dtable[static_cast<size_t>(ids[static_cast<size_t>(row)] * size + e)] += dy.at(row, e);
    });
    return dtable;
  }
};

void check_table(const std::vector<float>& actual, const std::vector<float>& expected,
                 const std::string& subject) {
  for (size_t i = 0; i < expected.size(); ++i) {
    CHECK(same_bits(actual[i], expected[i]), subject + " at " + std::to_string(i) + ": received " +
                                                 std::to_string(actual[i]) + ", expected " +
                                                 std::to_string(expected[i]) + ", no tolerance");
  }
}

TEST_CASE("embedding_backward: rows of one id add up in their order, for every width") {
  Random random(2);
  for (int64_t size = 1; size <= 70; ++size) {
    const BackwardCase one(random, (size * 3) % 47, size);
    for (const Isa isa : supported_isas()) {
      std::vector<float> dtable = one.initial;
      training_kernels(isa).embedding_backward(one.args(dtable));
      check_table(dtable, one.expected(), std::string(isa_name(isa)) + " E=" + std::to_string(size));
    }
  }
}

TEST_CASE("embedding_backward: columns in parts give the same bits") {
  Random random(3);
  const BackwardCase one(random, 60, 100);
  for (const Isa isa : supported_isas()) {
    for (const int64_t cut : {0, 1, 16, 33, 99, 100}) {
      std::vector<float> dtable = one.initial;
      EmbeddingBackwardArgs args = one.args(dtable);
      args.column_begin = cut;
      training_kernels(isa).embedding_backward(args);
      args.column_begin = 0;
      args.column_end = cut;
      training_kernels(isa).embedding_backward(args);
      check_table(dtable, one.expected(), std::string(isa_name(isa)) + " cut at " + std::to_string(cut));
    }
  }
}

}  // namespace
}  // namespace elasticlm::test
