#include "exec/dense.h"

namespace elasticlm {

void dense(const KernelTable& kernels, const PackedMatrix& weight, Activation activation,
           const DenseRows& rows) {
  const PackedMatrixView view = weight.view();
  const ColumnRun columns = {0, view.num_blocks, 0};
  const KRun depth = {0, view.K};
  RowGroup group;
  group.x = rows.x;
  group.y = rows.y;
  group.num_rows = rows.num_rows;
  group.ldx = rows.ldx;
  group.ldy = rows.ldy;
  group.columns = {&columns, 1};
  group.depth = {&depth, 1};
  kernels.linear_f32_forward({.weight = view, .activation = activation, .groups = {&group, 1}});
}

}  // namespace elasticlm
