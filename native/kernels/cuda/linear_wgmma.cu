// The linear layers of compute capability 9.0: WGMMA fed by TMA. One persistent block for each SM.
//
// MODEL_COMMENT
#include <algorithm>

#include "kernels/cuda/epilogue.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/linear_tiles.cuh"
#include "kernels/cuda/matrix_descriptor.cuh"
#include "kernels/cuda/ptx.cuh"

namespace elasticlm::cuda {
namespace {

constexpr int kConsumers = 2;  // warpgroups that multiply, 64 rows of the tile each
constexpr int kThreads = (1 + kConsumers) * kWarpgroupThreads;
constexpr int kConsumerWarps = kConsumers * kWarpgroupThreads / kWarpThreads;
constexpr int kMaxColumns = 256;
constexpr int kStepsPerStage = kBoxColumns / kMmaDepth;
// A launch gives 384 threads 168 registers each, and what one warpgroup takes another must give: 56 + 2 * 224 = 3 * 168. A
// consumer holds 128 accumulators and, beside them, 48 words of residual.
constexpr int kProducerRegisters = 56;
constexpr int kConsumerRegisters = 224;

// 227 KB is what a block may have. 224 KB for stages: 4 of 128 x 256 tiles, 5 of 128 x 192, 7 of 128 x 128, 14 of 64 x 64.
constexpr int kStageMemory = 224 * 1024;
constexpr int kMaxStages = 14;
constexpr int kNotes = 2;  // one tile in work, one ahead

// The second consumer begins this many stages after the first and stays behind, so that one multiplies while the other is in
// its epilogue. More would leave the loads too few stages to run ahead.
constexpr int kConsumerLag = 2;

// What consumers must know of a tile.
struct TileNote {
  alignas(16) float bias[kMaxColumns];
  int row_begin;
  int num_rows;  // 0: there are no more tiles
  int column_begin;
  int num_columns;
  int num_kept;   // columns that are computed; the others become zeros
  int num_steps;  // k16 steps
};

struct Control {
  TileNote notes[kNotes];
  uint64_t full[kMaxStages];
  uint64_t empty[kMaxStages];
  uint64_t note_full[kNotes];
  uint64_t note_empty[kNotes];
};
constexpr int kSharedBytes = kStageMemory + static_cast<int>(sizeof(Control));
static_assert(kSharedBytes <= 227 * 1024);

ELASTICLM_DEVICE Control& control() { return *reinterpret_cast<Control*>(shared_memory() + kStageMemory); }

// The slots of a ring and the parity of their present use.
struct RingPosition {
  int slot = 0;
  uint32_t parity = 0;

  ELASTICLM_DEVICE void advance(int num_slots) {
    if (++slot == num_slots) {
      slot = 0;
      parity ^= 1;
    }
  }
};

// A stage holds 64 of depth: the rows of x in one or two panels, then weights for the columns of y in one to four.
struct StageLayout {
  uint32_t begin = 0;
  int bytes = 0;
  int weight_offset = 0;
  int num_stages = 0;

  ELASTICLM_DEVICE explicit StageLayout(TileShape shape)
      : begin(ptx::shared_address(shared_memory())),
        bytes((shape.rows + shape.columns) * kLineBytes),
        weight_offset(shape.rows * kLineBytes),
        num_stages(min(kMaxStages, kStageMemory / bytes)) {}
  ELASTICLM_DEVICE uint32_t stage(int slot) const { return begin + slot * bytes; }
};

ELASTICLM_DEVICE int kept_columns(const LinearTile& tile) {
  return max(0, min(tile.group.num_kept_columns - tile.column_begin, tile.num_columns));
}
ELASTICLM_DEVICE int depth_steps(const LinearTile& tile) {
  return kept_columns(tile) > 0 ? tile.group.depth / kMmaDepth : 0;
}

// --- the tile's shape ------------------------------------------------------------------------------------------------

// Cycles of a tile: see the model above.
ELASTICLM_DEVICE float tile_cycles(int rows, int columns, int depth) {
  const float products = static_cast<float>(rows * columns) / 128;
  const float loads = static_cast<float>(rows + columns) * 4 / 7;
  return static_cast<float>(depth / kMmaDepth) * fmaxf(products, loads) + static_cast<float>(2 * columns + 400);
}

// The shape that ends the step first when blocks take tiles in turn: the work of all tiles, and as much as the longest tile in
// each place that the last wave leaves empty. All 32 lanes together: lane l looks at 64 or 128 rows (bit 2) and 64 to 256
// columns (bits 0 and 1) of every fourth group from l / 8 on.
ELASTICLM_DEVICE TileShape choose_shape(const LinearStep* step, const LinearGroup* groups) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const TileShape shape = {(lane & 4) != 0 ? 64 : 128, kBoxColumns * (1 + lane % 4)};
  float work = 0.0f;
  float longest = 0.0f;
  int tiles = 0;
  for (int i = lane / 8; i < step->num_groups; i += 4) {
    const LinearGroup group = groups[step->group_begin + i];
    const int row_tiles = parts_of(group.num_rows, shape.rows);
    const int rows = min(shape.rows, group.num_rows);
    const int wide_tiles = group.num_columns / shape.columns;
    const int rest = group.num_columns % shape.columns;
    const float rest_cycles = rest > 0 ? tile_cycles(rows, rest, group.depth) : 0.0f;
    const float wide_cycles = wide_tiles > 0 ? tile_cycles(rows, shape.columns, group.depth) : 0.0f;
    work += static_cast<float>(row_tiles) * (static_cast<float>(wide_tiles) * wide_cycles + rest_cycles);
    longest = fmaxf(longest, fmaxf(wide_cycles, rest_cycles));
    tiles += count_tiles(group, shape);
  }
  for (int distance = 8; distance < kWarpThreads; distance *= 2) {
    work += __shfl_xor_sync(kFullWarp, work, distance);
    longest = fmaxf(longest, __shfl_xor_sync(kFullWarp, longest, distance));
    tiles += __shfl_xor_sync(kFullWarp, tiles, distance);
  }
  const int grid = static_cast<int>(gridDim.x);
  float cycles = work + longest * static_cast<float>(parts_of(tiles, grid) * grid - tiles);
  int best = lane;
  for (int distance = 1; distance < 8; distance *= 2) {
    const float other_cycles = __shfl_xor_sync(kFullWarp, cycles, distance);
    const int other = __shfl_xor_sync(kFullWarp, best, distance);
    if (other_cycles < cycles || (other_cycles == cycles && other < best)) {
      cycles = other_cycles;
      best = other;
    }
  }
  best = __shfl_sync(kFullWarp, best, 0);
  return {(best & 4) != 0 ? 64 : 128, kBoxColumns * (1 + best % 4)};
}

// --- producer: one warp that loads -----------------------------------------------------------------------------------

// A stage's boxes stand to lanes: lane l < 16 has the l-th 16 stored rows by 64 elements of the weight's panels, or, where
// four such lanes meet 64 neighbouring rows, the first of the four has a whole panel; lanes 16 and 17 have the panels of x.
template <ptx::Major kMajor>
struct Loader {
  const LinearArgs& args;
  const StageLayout& layout;
  LinearTile tile;
  int lane;
  int num_kept;
  int num_steps;
  int block_row;  // first stored row of this lane's block (columns: of the tile; depth: of the stage)
  bool has_block;
  bool in_panel;

  ELASTICLM_DEVICE Loader(const LinearArgs& args, const StageLayout& layout, const LinearTile& tile)
      : args(args),
        layout(layout),
        tile(tile),
        lane(static_cast<int>(threadIdx.x) % kWarpThreads),
        num_kept(kept_columns(tile)),
        num_steps(depth_steps(tile)) {
    if constexpr (kMajor == ptx::Major::kK) find_block(lane < parts_of(num_kept, kRowBlock), tile.column_begin / kRowBlock + lane);
  }

  ELASTICLM_DEVICE int num_stages() const { return parts_of(num_steps, kStepsPerStage); }
  ELASTICLM_DEVICE int steps_of(int k) const { return min(kStepsPerStage, num_steps - k * kStepsPerStage); }

  // All lanes together.
  ELASTICLM_DEVICE void find_block(bool has, int block_idx) {
    has_block = has;
    block_row = has ? stored_row(tile.group, args.row_blocks, block_idx) : -1;
    const int panel_row = __shfl_sync(kFullWarp, block_row, lane & ~3);
    int follows = has && block_row == panel_row + lane % 4 * kRowBlock ? 1 : 0;
    follows &= __shfl_xor_sync(kFullWarp, follows, 1);
    follows &= __shfl_xor_sync(kFullWarp, follows, 2);
    in_panel = follows != 0;
  }

  ELASTICLM_DEVICE void expect(int k, uint32_t barrier) const {
    const int x_panels = parts_of(tile.num_rows, kPanelRows);
    const int blocks = kMajor == ptx::Major::kK ? parts_of(num_kept, kRowBlock)
                                                : parts_of(num_kept, kBoxColumns) * steps_of(k);
    if (lane == 0) ptx::mbarrier_arrive_expect(barrier, x_panels * kPanelBytes + blocks * kBlockBytes);
    __syncwarp();
  }

  ELASTICLM_DEVICE void load_weight(int k, uint32_t stage, uint32_t barrier) {
    int column = k * kBoxColumns;
    if constexpr (kMajor == ptx::Major::kN) {
      const int panel = lane / 4;
      find_block(panel < parts_of(num_kept, kBoxColumns) && lane % 4 < steps_of(k), k * kStepsPerStage + lane % 4);
      column = tile.column_begin + panel * kBoxColumns;
    }
    if (has_block && !(in_panel && lane % 4 != 0)) {
      ptx::tma_load(stage + layout.weight_offset + lane * kBlockBytes,
                    in_panel ? &args.weight.panel_map : &args.weight.block_map, column, block_row, barrier);
    }
  }

  ELASTICLM_DEVICE void load_x(int k, uint32_t stage, uint32_t barrier) const {
    const int panel = lane - 16;
    if (panel < 0 || panel >= parts_of(tile.num_rows, kPanelRows)) return;
    ptx::tma_load(stage + panel * kPanelBytes, &args.x.panel_map, k * kBoxColumns,
                  tile.row_begin + panel * kPanelRows, barrier);
  }
};

template <ptx::Major kMajor>
ELASTICLM_DEVICE void produce(const LinearArgs& args, TileShape shape) {
  const StageLayout layout(shape);
  const uint32_t full = ptx::shared_address(control().full);
  const uint32_t empty = ptx::shared_address(control().empty);
  RingPosition position;
  bool waited = false;  // for the kernel before
  LinearTile tile;
  for (int tile_idx = static_cast<int>(blockIdx.x); find_tile(args.step, args.groups, shape, tile_idx, tile);
       tile_idx += static_cast<int>(gridDim.x)) {
    Loader<kMajor> loader(args, layout, tile);
    const int num_stages = loader.num_stages();
    int k = 0;
    if (!waited) {  // weights do not come from a kernel: as many as fit begin before the wait
      const int ahead = min(num_stages, layout.num_stages);
      for (int i = 0; i < ahead; ++i) {
        loader.expect(i, full + 8 * i);
        loader.load_weight(i, layout.stage(i), full + 8 * i);
      }
      ptx::grid_dependency_wait();
      waited = true;
      for (; k < ahead; ++k) {
        loader.load_x(k, layout.stage(k), full + 8 * k);
        position.advance(layout.num_stages);
      }
    }
    for (; k < num_stages; ++k) {
      const uint32_t barrier = full + 8 * position.slot;
      ptx::mbarrier_wait(empty + 8 * position.slot, position.parity ^ 1);
      loader.expect(k, barrier);
      loader.load_weight(k, layout.stage(position.slot), barrier);
      loader.load_x(k, layout.stage(position.slot), barrier);
      position.advance(layout.num_stages);
    }
  }
  ptx::grid_dependency_launch();
}

// --- notes: one warp that looks up what consumers need beside the products -------------------------------------------

template <ptx::Major kMajor>
ELASTICLM_DEVICE void write_note(const LinearArgs& args, const LinearTile& tile, TileNote& note) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int num_kept = kept_columns(tile);
  if (lane == 0) {
    note.row_begin = tile.row_begin;
    note.num_rows = tile.num_rows;
    note.column_begin = tile.column_begin;
    note.num_columns = tile.num_columns;
    note.num_kept = num_kept;
    note.num_steps = depth_steps(tile);
  }
  for (int i = lane; i < num_kept; i += kWarpThreads) {
    const int column = tile.column_begin + i;
    if constexpr (kMajor == ptx::Major::kK) {
      note.bias[i] = args.bias[stored_row(tile.group, args.row_blocks, column / kRowBlock) + column % kRowBlock];
    } else {
      note.bias[i] = args.bias[column];
    }
  }
}

template <ptx::Major kMajor>
ELASTICLM_DEVICE void take_notes(const LinearArgs& args, TileShape shape) {
  RingPosition position;
  LinearTile tile;
  for (int tile_idx = static_cast<int>(blockIdx.x);; tile_idx += static_cast<int>(gridDim.x)) {
    const bool found = find_tile(args.step, args.groups, shape, tile_idx, tile);
    TileNote& note = control().notes[position.slot];
    ptx::mbarrier_wait(ptx::shared_address(&control().note_empty[position.slot]), position.parity ^ 1);
    if (found) {
      write_note<kMajor>(args, tile, note);
    } else if (threadIdx.x % kWarpThreads == 0) {
      note.num_rows = 0;
    }
    ptx::mbarrier_arrive(ptx::shared_address(&control().note_full[position.slot]));
    if (!found) return;
    position.advance(kNotes);
  }
}

// --- consumers: two warpgroups that multiply and store ---------------------------------------------------------------

struct Consumer {
  const StageLayout& layout;
  int idx;       // which 64 rows of the tile
  bool signals;  // the lane that speaks for its warp
  RingPosition position;

  ELASTICLM_DEVICE uint32_t full() const { return ptx::shared_address(&control().full[position.slot]); }
  ELASTICLM_DEVICE void release(int slot) const {
    if (signals) ptx::mbarrier_arrive(ptx::shared_address(&control().empty[slot]));
  }
};

// acc += the consumer's 64 rows of x times kSteps steps of the weights of the present stage, for N columns.
template <typename T, ptx::Major kMajor, int N, int kSteps>
ELASTICLM_DEVICE void multiply_stage(Consumer& consumer, float (&acc)[kMaxColumns / 2]) {
  ptx::mbarrier_wait(consumer.full(), consumer.position.parity);
  const uint32_t stage = consumer.layout.stage(consumer.position.slot);
  const uint64_t a = matrix_descriptor<ptx::Major::kK>(stage + consumer.idx * kPanelBytes);
  const uint64_t b = matrix_descriptor<kMajor>(stage + consumer.layout.weight_offset);
  ptx::wgmma_fence();
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    ptx::wgmma_m64k16<T, N, kMajor>(acc, a + i * kDescriptorStep<ptx::Major::kK>, b + i * kDescriptorStep<kMajor>, true);
  }
  ptx::wgmma_commit();
}

template <typename T, ptx::Major kMajor, int N>
ELASTICLM_DEVICE void multiply(Consumer& consumer, int num_steps, float (&acc)[kMaxColumns / 2]) {
  ptx::wgmma_pin(acc);
  int before = -1;  // the slot whose products may still run
  for (int stages = num_steps / kStepsPerStage; stages > 0; --stages) {
    multiply_stage<T, kMajor, N, kStepsPerStage>(consumer, acc);
    ptx::wgmma_wait<1>();
    if (before >= 0) consumer.release(before);
    before = consumer.position.slot;
    consumer.position.advance(consumer.layout.num_stages);
  }
  const int rest = num_steps % kStepsPerStage;
  if (rest == 1) {
    multiply_stage<T, kMajor, N, 1>(consumer, acc);
  } else if (rest == 2) {
    multiply_stage<T, kMajor, N, 2>(consumer, acc);
  } else if (rest == 3) {
    multiply_stage<T, kMajor, N, 3>(consumer, acc);
  }
  ptx::wgmma_wait<0>();
  ptx::wgmma_pin(acc);
  if (before >= 0) consumer.release(before);
  if (rest > 0) {
    consumer.release(consumer.position.slot);
    consumer.position.advance(consumer.layout.num_stages);
  }
}

// A tile without rows for this consumer: its stages pass by.
ELASTICLM_DEVICE void pass_by(Consumer& consumer, int num_steps) {
  for (int step = 0; step < num_steps; step += kStepsPerStage) {
    ptx::mbarrier_wait(consumer.full(), consumer.position.parity);
    consumer.release(consumer.position.slot);
    consumer.position.advance(consumer.layout.num_stages);
  }
}

// Lanes 2 i and 2 i + 1 hold the words i of the neighbouring 8-column blocks `first` and `second` of a row, as WGMMA leaves
// them; after it the even lane holds two neighbouring words of the first block and the odd lane two of the second, so that
// the four lanes of a row store or load 32 bytes on end, 8 each. The same exchange leads back.
ELASTICLM_DEVICE void exchange(uint32_t& first, uint32_t& second) {
  const bool odd = threadIdx.x % 2 != 0;
  const uint32_t received = __shfl_xor_sync(kFullWarp, odd ? first : second, 1);
  if (odd) {
    first = received;
  } else {
    second = received;
  }
}

// The places of this thread's results: rows lane / 4 and lane / 4 + 8 of its warp's 16, and of each 16 columns four.
template <typename T>
struct OutputPlaces {
  T* first;
  int64_t ld;
  int num_columns[2];  // 0: the tile has no such row

  ELASTICLM_DEVICE OutputPlaces(const DeviceMatrix& y, const TileNote& note, int warp_row) : ld(y.ld) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
    const int tile_row = warp_row + lane / 4;
    const int column = note.column_begin + lane % 2 * 8 + lane % 4 / 2 * 4;
    first = static_cast<T*>(y.data) + (note.row_begin + tile_row) * ld + column;
    for (int r = 0; r < 2; ++r) num_columns[r] = tile_row + 8 * r < note.num_rows ? note.num_columns : 0;
  }
  ELASTICLM_DEVICE bool has(int r, int column) const { return column < num_columns[r]; }
  ELASTICLM_DEVICE uint2* at(int r, int column) const {
    return reinterpret_cast<uint2*>(first + 8 * r * ld + column);
  }
};

constexpr int kPiece = 32;  // columns of one turn of the epilogue
constexpr int kPieces = kMaxColumns / kPiece;
// Words of the residual for a piece: for each of the thread's rows and each 16 columns, four elements.
using ResidualPiece = uint2[2][kPiece / 16];

template <typename T>
ELASTICLM_DEVICE void load_residual(const OutputPlaces<T>& places, int column, ResidualPiece& residual) {
  for (int r = 0; r < 2; ++r) {
    for (int i = 0; i < kPiece / 16; ++i) {
      if (places.has(r, column + 16 * i)) residual[r][i] = *places.at(r, column + 16 * i);
    }
  }
}

// Element 4 j + 2 r + i of `sums` belongs to row r of OutputPlaces and column 8 j + 2 (lane % 4) + i of the piece.
ELASTICLM_DEVICE void add_bias(const TileNote& note, int column, float (&sums)[kPiece / 2]) {
  for (int j = 0; j < kPiece / 8; ++j) {
    const float2 bias = *reinterpret_cast<const float2*>(&note.bias[column + 8 * j + threadIdx.x % 4 * 2]);
    for (int r = 0; r < 2; ++r) {
      sums[4 * j + 2 * r] += bias.x;
      sums[4 * j + 2 * r + 1] += bias.y;
    }
  }
}

template <typename T>
ELASTICLM_DEVICE void add_residual(const ResidualPiece& residual, float (&sums)[kPiece / 2]) {
  for (int i = 0; i < kPiece / 16; ++i) {
    for (int r = 0; r < 2; ++r) {
      uint2 words = residual[r][i];
      exchange(words.x, words.y);
      const float2 first = unpack2<T>(words.x);
      const float2 second = unpack2<T>(words.y);
      sums[8 * i + 2 * r] += first.x;
      sums[8 * i + 2 * r + 1] += first.y;
      sums[8 * i + 4 + 2 * r] += second.x;
      sums[8 * i + 4 + 2 * r + 1] += second.y;
    }
  }
}

template <typename T>
ELASTICLM_DEVICE void store_piece(const TileNote& note, const OutputPlaces<T>& places, int column,
                                  float (&sums)[kPiece / 2]) {
  if (column + kPiece > note.num_kept) {
    const int first = column + threadIdx.x % 4 * 2;
    for (int i = 0; i < kPiece / 2; ++i) {
      if (first + i / 4 * 8 + i % 2 >= note.num_kept) sums[i] = 0.0f;
    }
  }
  for (int i = 0; i < kPiece / 16; ++i) {
    for (int r = 0; r < 2; ++r) {
      uint2 words = {pack2<T>(sums[8 * i + 2 * r], sums[8 * i + 2 * r + 1]),
                     pack2<T>(sums[8 * i + 4 + 2 * r], sums[8 * i + 4 + 2 * r + 1])};
      exchange(words.x, words.y);
      if (places.has(r, column + 16 * i)) *places.at(r, column + 16 * i) = words;
    }
  }
}

template <int kIdx>
ELASTICLM_DEVICE void copy_piece(const float (&acc)[kMaxColumns / 2], float (&sums)[kPiece / 2]) {
  for (int i = 0; i < kPiece / 2; ++i) sums[i] = acc[kIdx * kPiece / 2 + i];
}
ELASTICLM_DEVICE void copy_piece(int idx, const float (&acc)[kMaxColumns / 2], float (&sums)[kPiece / 2]) {
  switch (idx) {
    case 0: return copy_piece<0>(acc, sums);
    case 1: return copy_piece<1>(acc, sums);
    case 2: return copy_piece<2>(acc, sums);
    case 3: return copy_piece<3>(acc, sums);
    case 4: return copy_piece<4>(acc, sums);
    case 5: return copy_piece<5>(acc, sums);
    case 6: return copy_piece<6>(acc, sums);
    default: return copy_piece<7>(acc, sums);
  }
}

// One turn's code for all pieces, at the price of a copy: eight copies of the activations would crowd the instruction cache.
template <typename T>
ELASTICLM_DEVICE void store_activated(Epilogue epilogue, const TileNote& note, const OutputPlaces<T>& places,
                                      const float (&acc)[kMaxColumns / 2]) {
#pragma unroll 1
  for (int column = 0; column < note.num_columns; column += kPiece) {
    float sums[kPiece / 2];
    copy_piece(column / kPiece, acc, sums);
    add_bias(note, column, sums);
    if (epilogue == Epilogue::kBiasGelu) {
      for (int i = 0; i < kPiece / 2; ++i) sums[i] = gelu(sums[i]);
    } else if (epilogue == Epilogue::kBiasTanh) {
      for (int i = 0; i < kPiece / 2; ++i) sums[i] = tanhf(sums[i]);
    }
    store_piece(note, places, column, sums);
  }
}

// The residual of so many pieces is asked for before the products, because L2 is far: 48 registers. Later pieces follow in
// what the finished ones leave free, and for that this loop is unrolled.
constexpr int kPiecesAhead = 6;

template <typename T>
ELASTICLM_DEVICE void store_with_residual(const TileNote& note, const OutputPlaces<T>& places,
                                          ResidualPiece (&residual)[kPiecesAhead], float (&acc)[kMaxColumns / 2]) {
#pragma unroll
  for (int piece = 0; piece < kPieces; ++piece) {
    const int column = piece * kPiece;
    if (column >= note.num_columns) return;
    float sums[kPiece / 2];
    for (int i = 0; i < kPiece / 2; ++i) sums[i] = acc[piece * kPiece / 2 + i];
    add_bias(note, column, sums);
    add_residual<T>(residual[piece % kPiecesAhead], sums);
    if (piece + kPiecesAhead < kPieces) {
      load_residual(places, column + kPiecesAhead * kPiece, residual[piece % kPiecesAhead]);
    }
    store_piece(note, places, column, sums);
  }
}

template <typename T, ptx::Major kMajor>
ELASTICLM_DEVICE void compute_tile(const LinearArgs& args, const TileNote& note, Consumer& consumer) {
  const int warp_row = consumer.idx * kPanelRows + static_cast<int>(threadIdx.x) / kWarpThreads % 4 * 16;
  const OutputPlaces<T> places(args.y, note, warp_row);
  ResidualPiece residual[kPiecesAhead] = {};
  if (args.epilogue == Epilogue::kBiasResidual) {
    for (int i = 0; i < kPiecesAhead; ++i) load_residual(places, i * kPiece, residual[i]);
  }
  // From one lane: the compiler must see that the branches around wgmma are a warp's and not a thread's.
  const int num_steps = __shfl_sync(kFullWarp, note.num_steps, 0);
  const int num_kept = __shfl_sync(kFullWarp, note.num_kept, 0);
  float acc[kMaxColumns / 2] = {};
  if (num_kept <= 64) {
    multiply<T, kMajor, 64>(consumer, num_steps, acc);
  } else if (num_kept <= 128) {
    multiply<T, kMajor, 128>(consumer, num_steps, acc);
  } else if (num_kept <= 192) {
    multiply<T, kMajor, 192>(consumer, num_steps, acc);
  } else {
    multiply<T, kMajor, 256>(consumer, num_steps, acc);
  }
  if (args.epilogue == Epilogue::kBiasResidual) {
    store_with_residual(note, places, residual, acc);
  } else {
    store_activated(args.epilogue, note, places, acc);
  }
}

template <typename T, ptx::Major kMajor>
ELASTICLM_DEVICE void consume(const LinearArgs& args, TileShape shape) {
  const StageLayout layout(shape);
  Consumer consumer{layout, static_cast<int>(threadIdx.x) / kWarpgroupThreads - 1, threadIdx.x % kWarpThreads == 0, {}};
  ptx::grid_dependency_wait();
  RingPosition position;
  for (bool first = true;; first = false) {
    const TileNote& note = control().notes[position.slot];
    ptx::mbarrier_wait(ptx::shared_address(&control().note_full[position.slot]), position.parity);
    if (note.num_rows == 0) return;
    if (first && consumer.idx > 0 && note.num_steps > kConsumerLag * kStepsPerStage) {
      ptx::mbarrier_wait(ptx::shared_address(&control().full[kConsumerLag]), 0);
    }
    if (note.num_rows > consumer.idx * kPanelRows) {
      compute_tile<T, kMajor>(args, note, consumer);
    } else {
      pass_by(consumer, note.num_steps);
    }
    __syncwarp();
    if (consumer.signals) ptx::mbarrier_arrive(ptx::shared_address(&control().note_empty[position.slot]));
    position.advance(kNotes);
  }
}

template <typename T, ptx::Major kMajor>
__global__ void __launch_bounds__(kThreads, 1) linear_wgmma_kernel(const __grid_constant__ LinearArgs args) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kMaxStages; ++i) {
      ptx::mbarrier_init(ptx::shared_address(&control().full[i]), 1);
      ptx::mbarrier_init(ptx::shared_address(&control().empty[i]), kConsumerWarps);
    }
    for (int i = 0; i < kNotes; ++i) {
      ptx::mbarrier_init(ptx::shared_address(&control().note_full[i]), kWarpThreads);
      ptx::mbarrier_init(ptx::shared_address(&control().note_empty[i]), kConsumerWarps);
    }
    ptx::mbarrier_init_fence();
  }
  const TileShape shape = choose_shape(args.step, args.groups);
  __syncthreads();
  if (warp < kWarpgroupThreads / kWarpThreads) {
    ptx::registers_decrease<kProducerRegisters>();
    if (warp == 0) {
      produce<kMajor>(args, shape);
    } else if (warp == 1) {
      take_notes<kMajor>(args, shape);
    }
  } else {
    ptx::registers_increase<kConsumerRegisters>();
    consume<T, kMajor>(args, shape);
  }
}

template <typename T, ptx::Major kMajor>
void launch_linear(const LinearArgs& args, const LaunchContext& context) {
  constexpr TileShape kSmallest = {kPanelRows, kBoxColumns};
  LaunchShape shape;
  shape.grid.x = static_cast<unsigned>(std::clamp<int64_t>(most_tiles(args, context, kSmallest), 1, context.num_sms));
  shape.block.x = kThreads;
  shape.shared_bytes = kSharedBytes;
  shape.stream = context.stream;
  shape.programmatic = context.programmatic;
  allow_shared_memory(linear_wgmma_kernel<T, kMajor>, kSharedBytes);
  launch(linear_wgmma_kernel<T, kMajor>, shape, args);
}

template <typename T>
void launch_linear_of(const LinearArgs& args, const LaunchContext& context) {
  if (args.weight_rows == WeightRows::kColumns) {
    launch_linear<T, ptx::Major::kK>(args, context);
  } else {
    launch_linear<T, ptx::Major::kN>(args, context);
  }
}

}  // namespace

void linear_wgmma_forward(const LinearArgs& args, const LaunchContext& context) {
  if (args.dtype == DType::kF16) {
    launch_linear_of<f16>(args, context);
  } else {
    launch_linear_of<bf16>(args, context);
  }
}

}  // namespace elasticlm::cuda
