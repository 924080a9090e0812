// How linear_forward is cut into register tiles: the part that no instruction set changes.
//
// A tile is up to kMaxTileRows rows times up to three weight blocks, over the whole kept depth. Tiles come
// weight blocks outermost, so that every row of every group that keeps a panel is served while the panel is
// in cache. Rows of neighbouring groups that keep the same blocks, at the same places of y, and the same
// depth share tiles: eight SubLMs with one row each cost one tile of eight rows, not eight tiles of one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/linear.h"

namespace elasticlm {

inline constexpr int64_t kMaxTileRows = 8;

struct TileRow {
  const std::byte* x = nullptr;     // words of the kept depth
  const float* residual = nullptr;  // like y, or null
  std::byte* y = nullptr;           // block j of the tile: element y_offset[j] of the tile, 16 elements
  RowScale scale;                   // i8 only
};

struct Tile {
  const std::byte* weights[kPanelBlocks] = {};  // first word of each block
  const float* bias[kPanelBlocks] = {};         // [16] each, or null
  const float* scales[kPanelBlocks] = {};       // [16] each, i8 only
  const float* sums[kPanelBlocks] = {};         // [16] each, i8 only
  int64_t y_offset[kPanelBlocks] = {};
  int64_t num_blocks = 0;
  TileRow rows[kMaxTileRows];
  int64_t num_rows = 0;
  std::span<const KRun> depth;
  bool brings_weights = false;      // the first tile to read these weights: later ones find them in cache
  const std::byte* next = nullptr;  // first word of the next tile's first block, or null
  Activation activation = Activation::kNone;
  OutputType y_type = OutputType::kF32;
};

struct TileKernel {
  int64_t max_rows = 1;  // at most kMaxTileRows
  void (*run)(const Tile&) = nullptr;
};

void for_each_tile(const LinearArgs& args, const TileKernel& kernel);

// The two cursors are used from objects of several instruction sets, which must not leave a copy for the
// linker to pick: all of them is inlined by force.
#define ELASTICLM_ALWAYS_INLINE [[gnu::always_inline]] inline

// A place in the kept depth: which word row of the weights it is, and how far the run goes on from there.
// Only whole words: what the last run may have behind them is not met. kElements: of a word.
template <int64_t kElements>
class DepthCursor {
 public:
  ELASTICLM_ALWAYS_INLINE explicit DepthCursor(std::span<const KRun> depth)
      : run_(depth.data()), end_(depth.data() + depth.size()) {
    advance(0);
  }
  ELASTICLM_ALWAYS_INLINE bool done() const { return run_ == end_; }
  ELASTICLM_ALWAYS_INLINE int64_t row() const { return run_->k_begin / kElements + within_; }
  ELASTICLM_ALWAYS_INLINE int64_t run_left() const { return run_->k_count / kElements - within_; }
  // Returns how many steps led past the end.
  ELASTICLM_ALWAYS_INLINE int64_t advance(int64_t steps) {
    within_ += steps;
    while (run_ != end_ && within_ >= run_->k_count / kElements) {
      within_ -= run_->k_count / kElements;
      ++run_;
    }
    return run_ == end_ ? within_ : 0;
  }

 private:
  const KRun* run_;
  const KRun* end_;
  int64_t within_ = 0;
};

// The place in the kept depth that lies `distance` rows ahead of a tile's multiplication; behind its end come
// the first rows of the next tile, if there is one.
template <int64_t kElements>
class PrefetchCursor {
 public:
  ELASTICLM_ALWAYS_INLINE PrefetchCursor(const Tile& tile, int64_t distance)
      : depth_(tile.depth), cursor_(tile.depth), has_next_(tile.next != nullptr) {
    advance(distance);
  }
  ELASTICLM_ALWAYS_INLINE bool done() const { return cursor_.done(); }
  ELASTICLM_ALWAYS_INLINE bool in_next() const { return in_next_; }
  ELASTICLM_ALWAYS_INLINE int64_t row() const { return cursor_.row(); }
  ELASTICLM_ALWAYS_INLINE int64_t run_left() const { return cursor_.run_left(); }
  ELASTICLM_ALWAYS_INLINE void advance(int64_t steps) {
    const int64_t past = cursor_.advance(steps);
    if (!cursor_.done() || in_next_ || !has_next_) return;
    in_next_ = true;
    cursor_ = DepthCursor<kElements>(depth_);
    cursor_.advance(past);
  }

 private:
  std::span<const KRun> depth_;
  DepthCursor<kElements> cursor_;
  bool has_next_;
  bool in_next_ = false;
};

#undef ELASTICLM_ALWAYS_INLINE

}  // namespace elasticlm
