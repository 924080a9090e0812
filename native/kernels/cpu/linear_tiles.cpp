#include "kernels/cpu/linear_tiles.h"

#include <algorithm>
#include <limits>

namespace elasticlm {
namespace {

// Groups that share one pass; more take further passes. Bounds the walk's memory, which lives on the stack.
constexpr size_t kMaxSharingGroups = 64;

constexpr int64_t kNoPanel = std::numeric_limits<int64_t>::max();

// The blocks that one group keeps, three at a time in the order of its runs.
class TileCursor {
 public:
  void start(const RowGroup& group) {
    group_ = &group;
    if (group.num_rows > 0) advance();
  }

  void advance() {
    num_blocks_ = 0;
    while (num_blocks_ < kPanelBlocks && run_ < group_->columns.size()) {
      const ColumnRun& run = group_->columns[run_];
      if (within_ == run.num_blocks) {
        ++run_;
        within_ = 0;
        continue;
      }
      block_[num_blocks_] = run.block_begin + within_;
      y_offset_[num_blocks_] = run.y_offset + within_ * kBlockColumns;
      ++num_blocks_;
      ++within_;
    }
  }

  const RowGroup& group() const { return *group_; }
  int64_t num_blocks() const { return num_blocks_; }
  int64_t block(int64_t j) const { return block_[j]; }
  const int64_t* y_offset() const { return y_offset_; }
  int64_t panel() const { return num_blocks_ == 0 ? kNoPanel : block_[0] / kPanelBlocks; }

  bool shares_tiles(const TileCursor& other) const {
    return std::equal(block_, block_ + num_blocks_, other.block_, other.block_ + other.num_blocks_) &&
           std::equal(y_offset_, y_offset_ + num_blocks_, other.y_offset_) &&
           std::ranges::equal(group_->depth, other.group_->depth, [](const KRun& a, const KRun& b) {
             return a.k_begin == b.k_begin && a.k_count == b.k_count;
           });
  }

 private:
  const RowGroup* group_ = nullptr;
  size_t run_ = 0;      // within the group's columns
  int64_t within_ = 0;  // blocks of that run already taken
  int64_t num_blocks_ = 0;
  int64_t block_[kPanelBlocks] = {};
  int64_t y_offset_[kPanelBlocks] = {};
};

// Where the next row of a group lies.
class RowCursor {
 public:
  RowCursor(const RowGroup& group, const LinearArgs& args)
      : next_{.x = static_cast<const std::byte*>(group.x),
              .residual = group.residual,
              .y = static_cast<std::byte*>(group.y),
              .scale = {}},
        scales_(group.scales),
        x_bytes_(group.ldx * element_bytes(args.weight.precision)),
        y_bytes_(group.ldy *
                 static_cast<int64_t>(args.y_type == OutputType::kF32 ? sizeof(float) : sizeof(BF16))),
        ld_residual_(group.residual == nullptr ? 0 : group.ldy),
        rows_left_(group.num_rows) {}

  bool done() const { return rows_left_ == 0; }

  TileRow take() {
    TileRow row = next_;
    if (scales_ != nullptr) row.scale = *scales_++;
    next_.x += x_bytes_;
    next_.y += y_bytes_;
    if (ld_residual_ > 0) next_.residual += ld_residual_;
    --rows_left_;
    return row;
  }

 private:
  TileRow next_;
  const RowScale* scales_;
  int64_t x_bytes_;
  int64_t y_bytes_;
  int64_t ld_residual_;
  int64_t rows_left_;
};

// One pass over the weights for groups that share it.
class Walk {
 public:
  Walk(const LinearArgs& args, std::span<const RowGroup> groups, const TileKernel& kernel)
      : args_(args), kernel_(kernel), num_groups_(groups.size()) {
    for (size_t i = 0; i < num_groups_; ++i) cursors_[i].start(groups[i]);
  }

  void run() {
    for (int64_t panel = first_panel(); panel != kNoPanel; panel = first_panel()) {
      bool in_cache = false;
      for (size_t i = 0; i < num_groups_;) {
        if (cursors_[i].panel() != panel) {
          ++i;
          continue;
        }
        size_t end = i + 1;
        while (end < num_groups_ && cursors_[end].shares_tiles(cursors_[i])) ++end;
        serve(i, end, in_cache);
        in_cache = true;
        i = end;
      }
    }
  }

 private:
  int64_t first_panel() const {
    int64_t panel = kNoPanel;
    for (size_t i = 0; i < num_groups_; ++i) panel = std::min(panel, cursors_[i].panel());
    return panel;
  }

  // Runs the current tile of cursors [begin, end), which share tiles, for all their rows, and moves them
  // on.
  void serve(size_t begin, size_t end, bool in_cache) {
    int64_t num_rows = 0;
    for (size_t i = begin; i < end; ++i) num_rows += cursors_[i].group().num_rows;

    // Balanced: 17 rows are 6 + 6 + 5 and never 8 + 8 + 1, whose last tile would wait for its loads.
    const int64_t num_row_blocks = (num_rows + kernel_.max_rows - 1) / kernel_.max_rows;
    size_t group_idx = begin;
    RowCursor rows(cursors_[begin].group(), args_);
    Tile tile;
    take_weights(cursors_[begin], tile);
    for (int64_t i = 0; i < num_row_blocks; ++i) {
      tile.num_rows = num_rows / num_row_blocks + (i < num_rows % num_row_blocks ? 1 : 0);
      for (int64_t r = 0; r < tile.num_rows; ++r) {
        while (rows.done()) rows = RowCursor(cursors_[++group_idx].group(), args_);
        tile.rows[r] = rows.take();
      }
      tile.brings_weights = !in_cache && i == 0;
      kernel_.run(tile);
    }
    for (size_t i = begin; i < end; ++i) cursors_[i].advance();
  }

  void take_weights(const TileCursor& cursor, Tile& tile) const {
    tile.num_blocks = cursor.num_blocks();
    tile.depth = cursor.group().depth;
    tile.activation = args_.activation;
    tile.y_type = args_.y_type;
    for (int64_t j = 0; j < tile.num_blocks; ++j) {
      const int64_t column = cursor.block(j) * kBlockColumns;
      tile.y_offset[j] = cursor.y_offset()[j];
      tile.weights[j] = args_.weight.block(cursor.block(j));
      tile.bias[j] = args_.weight.bias == nullptr ? nullptr : args_.weight.bias + column;
      if (args_.weight.scales == nullptr) continue;
      tile.scales[j] = args_.weight.scales + column;
      tile.sums[j] = args_.weight.sums + column;
    }
    TileCursor next = cursor;
    next.advance();
    tile.next = next.num_blocks() == 0 ? nullptr : args_.weight.block(next.block(0));
  }

  const LinearArgs& args_;
  const TileKernel& kernel_;
  const size_t num_groups_;
  TileCursor cursors_[kMaxSharingGroups];
};

}  // namespace

void for_each_tile(const LinearArgs& args, const TileKernel& kernel) {
  for (size_t begin = 0; begin < args.groups.size(); begin += kMaxSharingGroups) {
    const size_t count = std::min(kMaxSharingGroups, args.groups.size() - begin);
    Walk(args, args.groups.subspan(begin, count), kernel).run();
  }
}

}  // namespace elasticlm
