// How linear_forward is cut into register tiles: the part that no instruction set changes.
//
// A tile is up to kMaxTileRows rows times up to three weight blocks, over the whole kept depth. Tiles come
// weight blocks outermost, so that every row of every group that keeps a panel is served while the panel is
// in cache. Rows of neighbouring groups that keep the same blocks and the same depth share tiles: eight
// SubLMs with one row each cost one tile of eight rows, not eight tiles of one.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/linear.h"

namespace elasticlm {

inline constexpr int64_t kMaxTileRows = 8;

struct TileRow {
  const float* x = nullptr;           // [kept depth]
  const float* residual = nullptr;    // like y, or null
  float* y = nullptr;                 // block j of the tile: y + y_offset[j], 16 floats
  const int64_t* y_offset = nullptr;  // [num_blocks]
};

// Which rows of depth a tile asks the cache for while it computes.
struct TilePrefetch {
  bool next_only =
      false;  // begin counts from the next tile's first row, else from this tile's, whose rows come first
  int64_t begin = 0;
  int64_t count = 0;
  const float* next = nullptr;  // first element of the next tile's first block, or null
};

struct Tile {
  const float* weights[kPanelBlocks] = {};  // first element of each block
  const float* bias[kPanelBlocks] = {};     // [16] each, or null
  int64_t num_blocks = 0;
  TileRow rows[kMaxTileRows];
  int64_t num_rows = 0;
  std::span<const KRun> depth;
  TilePrefetch prefetch;
  Activation activation = Activation::kNone;
};

struct TileKernel {
  int64_t max_rows = 1;           // at most kMaxTileRows
  int64_t prefetch_distance = 0;  // rows of depth; 0: leave it to the hardware
  void (*run)(const Tile&) = nullptr;
};

void for_each_tile(const LinearArgs& args, const TileKernel& kernel);

// Walks the rows of depth that a tile prefetches. Always inlined: it is used from objects of several
// instruction sets, which must not leave a copy for the linker to pick.
class PrefetchCursor {
 public:
  // For the tile's blocks [first, first + count); behind them come the tile's next blocks, or the next tile.
  [[gnu::always_inline]] inline PrefetchCursor(const Tile& tile, int64_t first, int64_t count)
      : run_(tile.depth.data()), end_(run_ + tile.depth.size()), first_(run_), left_(tile.prefetch.count) {
    const TilePrefetch& wanted = tile.prefetch;
    if (!wanted.next_only) {
      base_ = tile.weights[first];
      next_ = first + count < tile.num_blocks ? tile.weights[first + count] : wanted.next;
    } else if (wanted.next != nullptr) {
      base_ = wanted.next + (tile.weights[first] - tile.weights[0]);
    } else {
      left_ = 0;
    }
    int64_t skip = wanted.begin;
    while (left_ > 0 && skip >= run_->k_count) {
      skip -= run_->k_count;
      next_run();
    }
    within_ = skip;
  }

  // How many of the coming `wanted` steps prefetch neighbouring rows; 0 when nothing is left to prefetch.
  [[gnu::always_inline]] inline int64_t reach(int64_t wanted) const {
    if (left_ <= 0) return 0;
    const int64_t in_run = run_->k_count - within_;
    const int64_t reach = wanted < in_run ? wanted : in_run;
    return reach < left_ ? reach : left_;
  }

  // First row of depth to prefetch, in the tile's first block.
  [[gnu::always_inline]] inline const float* position() const {
    return base_ + (run_->k_begin + within_) * kPanelColumns;
  }

  [[gnu::always_inline]] inline void advance(int64_t steps) {
    left_ -= steps;
    within_ += steps;
    while (left_ > 0 && within_ >= run_->k_count) {
      within_ -= run_->k_count;
      next_run();
    }
  }

 private:
  [[gnu::always_inline]] inline void next_run() {
    if (++run_ != end_) return;
    run_ = first_;
    base_ = next_;
    next_ = nullptr;
    if (base_ == nullptr) left_ = 0;
  }

  const KRun* run_;
  const KRun* end_;
  const KRun* first_;
  const float* base_ = nullptr;
  const float* next_ = nullptr;
  int64_t within_ = 0;
  int64_t left_ = 0;
};

}  // namespace elasticlm
