#include "test/padded_rows.h"

namespace elasticlm::test {
namespace {

ColumnSumsArgs sums_args(const PaddedRows& x, std::vector<float>& sums) {
  ColumnSumsArgs args;
  args.x = x.values.data();
  args.sums = sums.data();
  args.num_rows = x.num_rows;
  args.column_end = x.num_columns;
  args.ldx = x.ld;
  return args;
}

TEST_CASE("column_sums: any number of rows, for every width, added to what was there") {
  Random random(1);
  for (int64_t columns = 0; columns <= 300; columns += columns < 70 ? 1 : 23) {
    const int64_t num_rows = (columns * 5) % 43;
    const PaddedRows x = random_padded_rows(random, num_rows, columns, 3, 0.2f);
    const std::vector<float> initial = random_floats(random, columns);
    for (const Isa isa : supported_isas()) {
      std::vector<float> sums = initial;
      training_kernels(isa).column_sums(sums_args(x, sums));
      WorstError worst;
      for (int64_t column = 0; column < columns; ++column) {
        const auto at = static_cast<size_t>(column);
        double sum = 0.0;
        double magnitude = 0.0;
        for (int64_t row = 0; row < num_rows; ++row) {
          sum += x.at(row, column);
          magnitude += std::abs(x.at(row, column));
        }
        // A chain of the rows, and one addition to what was there.
        worst.add(sums[at],
                  {initial[at] + sum, gamma_bound(static_cast<double>(num_rows) + 1) * magnitude +
                                          gamma_bound(1) * std::abs(initial[at])},
                  {column});
      }
      CHECK_WITHIN(worst, std::string(isa_name(isa)) + " rows " + std::to_string(num_rows) + " columns " +
                              std::to_string(columns));
    }
  }
}

TEST_CASE("column_sums: columns in parts give the same bits and touch no others") {
  Random random(2);
  const PaddedRows x = random_padded_rows(random, 29, 500, 0);
  const std::vector<float> initial = random_floats(random, 500);
  for (const Isa isa : supported_isas()) {
    std::vector<float> whole = initial;
    training_kernels(isa).column_sums(sums_args(x, whole));
    for (const int64_t cut : {0, 1, 15, 16, 130, 257, 499, 500}) {
      std::vector<float> parts = initial;
      ColumnSumsArgs args = sums_args(x, parts);
      args.column_begin = cut;
      training_kernels(isa).column_sums(args);
      for (size_t c = 0; c < static_cast<size_t>(cut); ++c) {
        CHECK(same_bits(parts[c], initial[c]),
              std::string(isa_name(isa)) + " touched a column before its range");
      }
      args.column_begin = 0;
      args.column_end = cut;
      training_kernels(isa).column_sums(args);
      for (size_t c = 0; c < 500; ++c) {
        CHECK(same_bits(parts[c], whole[c]), std::string(isa_name(isa)) + " cut at " + std::to_string(cut) +
                                                 " differs at " + std::to_string(c));
      }
    }
  }
}

TEST_CASE("column_dots: groups of every size in f64, added to what was there") {
  Random random(3);
  struct Shape {
    int64_t num_rows, num_groups, group_size;
  };
  for (const Shape& shape : {Shape{0, 3, 2}, Shape{1, 1, 1}, Shape{7, 12, 32}, Shape{33, 700, 1},
                             Shape{9, 5, 100}, Shape{4, 3, 300}, Shape{12, 0, 32}}) {
    const int64_t columns = shape.num_groups * shape.group_size;
    const PaddedRows x = random_padded_rows(random, shape.num_rows, columns, 3);
    const PaddedRows y = random_padded_rows(random, shape.num_rows, columns, 1);
    for (const Isa isa : supported_isas()) {
      std::vector<double> sums(static_cast<size_t>(shape.num_groups), 0.75);
      ColumnDotsArgs args;
      args.x = x.values.data();
      args.y = y.values.data();
      args.sums = sums.data();
      args.num_rows = shape.num_rows;
      args.num_groups = shape.num_groups;
      args.group_size = shape.group_size;
      args.ldx = x.ld;
      args.ldy = y.ld;
      training_kernels(isa).column_dots(args);
      for (int64_t group = 0; group < shape.num_groups; ++group) {
        long double exact = 0.75L;
        long double magnitude = 0.75L;
        for (int64_t row = 0; row < shape.num_rows; ++row) {
          for (int64_t i = group * shape.group_size; i < (group + 1) * shape.group_size; ++i) {
            const long double product = static_cast<long double>(x.at(row, i)) * y.at(row, i);
            exact += product;
            magnitude += std::abs(product);
          }
        }
        // Products are exact in f64; a term passes through no more additions than there are terms.
        const double terms = static_cast<double>(shape.num_rows * shape.group_size) + 1.0;
        const double tolerance = terms * 0x1p-53 * 1.001 * static_cast<double>(magnitude);
        const double actual = sums[static_cast<size_t>(group)];
        CHECK(std::abs(static_cast<double>(actual - exact)) <= tolerance,
              std::string(isa_name(isa)) + " group " + std::to_string(group) + ": received " +
                  std::to_string(actual) + ", expected " + std::to_string(static_cast<double>(exact)) +
                  ", tolerance " + std::to_string(tolerance));
      }
    }
  }
}

}  // namespace
}  // namespace elasticlm::test
