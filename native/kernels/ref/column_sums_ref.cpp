#include "kernels/column_sums.h"

namespace elasticlm {

void column_sums_ref(const ColumnSumsArgs& args) {
  for (int64_t column = args.column_begin; column < args.column_end; ++column) {
    double sum = 0.0;
    for (int64_t row = 0; row < args.num_rows; ++row) sum += args.x[row * args.ldx + column];
    args.sums[column] += static_cast<float>(sum);
  }
}

void column_dots_ref(const ColumnDotsArgs& args) {
  for (int64_t group = 0; group < args.num_groups; ++group) {
    double sum = 0.0;
    for (int64_t row = 0; row < args.num_rows; ++row) {
      for (int64_t i = group * args.group_size; i < (group + 1) * args.group_size; ++i) {
        sum += static_cast<double>(args.x[row * args.ldx + i]) * args.y[row * args.ldy + i];
      }
    }
    args.sums[group] += sum;
  }
}

}  // namespace elasticlm
