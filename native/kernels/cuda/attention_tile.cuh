// The tensor-core part of attention: what one warp does with 16 query rows and up to 64 keys that lie in
// shared memory, and how a block of warps takes an item through the keys of its sequence.
//
// A row's bits depend on its q and its sequence's K and V alone: a row is one row of a fragment, keys come in
// tiles of 64 counted from the sequence's first, and every sum runs in the order of the keys within a tile,
// whichever warp has the row.
#pragma once

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_items.cuh"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/ptx.cuh"

namespace elasticlm::cuda {

// m of m16n8k16, and k of the second product: keys come in pieces of 16 too.
inline constexpr int kPieceRows = 16;
// Scores of a row in flight, 32 registers of a lane: as many as its context has at D = 64.
inline constexpr int kTileKeys = 64;
// One tile is read while the next one lands.
inline constexpr int kAttentionStages = 2;

// K and V of one tile of keys, each [keys, D].
template <int kHeadDim>
inline constexpr int kTileBytes = 2 * kTileKeys * kHeadDim * 2;
// What attend_together needs of shared memory, at a multiple of 128 bytes.
template <int kHeadDim>
inline constexpr int kAttentionSharedBytes = kAttentionStages * kTileBytes<kHeadDim>;

// Where the 16-byte chunk of a row of K or V lies. Rows stand in lines of 128 bytes (two of them in one when
// D is 32), and a line's eight chunks are permuted by the row, so that neither way of reading meets a bank
// twice: ldmatrix takes one chunk of eight rows (their permutations differ in all three bits together), and a
// quarter warp's 16-byte loads take four chunks of two neighbouring rows (whose permutations differ in the
// highest bit).
ELASTICLM_DEVICE int chunk_permutation(int row) { return (row & 1) << 2 | (row >> 1 & 3); }
template <int kHeadDim>
ELASTICLM_DEVICE int chunk_offset(int row, int chunk) {
  return row * kHeadDim / 64 * 128 + (chunk ^ chunk_permutation(row)) * 16;
}

// One head of one sequence. Addresses are made from these few words where they are needed: registers are
// short.
template <typename T, int kHeadDim>
struct AttentionHead {
  const DeviceAttentionArgs& args;
  int32_t row_begin;
  int32_t num_rows;  // S
  int32_t head;

  // k and v stand D and 2 D further.
  ELASTICLM_DEVICE const T* q(int row) const {
    return static_cast<const T*>(args.qkv) + (row_begin + row) * args.ldqkv + head * (3 * kHeadDim);
  }
  ELASTICLM_DEVICE T* context(int row) const {
    return static_cast<T*>(args.context) + (row_begin + row) * args.ldcontext + head * kHeadDim;
  }
  // With log2 e: exponentials are powers of 2.
  ELASTICLM_DEVICE float scale() const { return args.scale * kLog2E; }
};

template <typename T, int kHeadDim>
ELASTICLM_DEVICE AttentionHead<T, kHeadDim> head_of(const DeviceAttentionArgs& args,
                                                    const AttentionItem& item) {
  return {args, item.row_begin, item.num_rows, item.head};
}

// kThreads threads start to copy K and V of keys [key_begin, key_begin + num_keys) to `shared`, and zeros up
// to a multiple of 16 keys: what a product with a weight of zero must not find there is NaN. V follows
// kCapacity rows of K.
template <typename T, int kHeadDim, int kThreads, int kCapacity>
ELASTICLM_DEVICE void copy_keys(const AttentionHead<T, kHeadDim>& head, int key_begin, int num_keys,
                                uint32_t shared) {
  constexpr int kChunks = kHeadDim / 8;
  static_assert(kThreads % kChunks == 0);
  const int thread = static_cast<int>(threadIdx.x) % kThreads;
  const int chunk = thread % kChunks;
  const int rows = (num_keys + kPieceRows - 1) / kPieceRows * kPieceRows;
  const T* k = head.q(key_begin + thread / kChunks) + kHeadDim + chunk * 8;
#pragma unroll 1
  for (int row = thread / kChunks; row < rows; row += kThreads / kChunks) {
    const bool valid = row < num_keys;
    const uint32_t target = shared + static_cast<uint32_t>(chunk_offset<kHeadDim>(row, chunk));
    ptx::cp_async_16(target, k, valid);
    ptx::cp_async_16(target + kCapacity * kHeadDim * 2, k + kHeadDim, valid);
    k += kThreads / kChunks * head.args.ldqkv;
  }
}

// Sixteen query rows of a warp on their way through the keys. Lane 4 g + t has rows g and g + 8 of every
// fragment.
template <typename T, int kHeadDim>
class QueryPiece {
 public:
  // Depth is taken in an order of its own, the same for q and K, in which a lane's part of two fragments is
  // 16 bytes in a row: pairs x and y are one step of 16, z and w the next.
  ELASTICLM_DEVICE void load(const AttentionHead<T, kHeadDim>& head, int query_begin) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = query_begin + half * 8 + group();
      const T* q = head.q(row) + place() * 8;
#pragma unroll
      for (int i = 0; i < kHeadDim / 32; ++i) {
        uint4 chunk = {};
        if (row < head.num_rows) chunk = *reinterpret_cast<const uint4*>(q + i * 32);
        q_[2 * i][half] = chunk.x;
        q_[2 * i][2 + half] = chunk.y;
        q_[2 * i + 1][half] = chunk.z;
        q_[2 * i + 1][2 + half] = chunk.w;
      }
    }
#pragma unroll
    for (int j = 0; j < kHeadDim / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) out_[j][e] = 0.0f;
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      largest_[half] = -INFINITY;
      sum_[half] = 0.0f;
    }
  }

  // One tile: num_keys of K at `k`, of V at `v` (the same memory's addresses as ptx knows them). kFull:
  // exactly kTileKeys; otherwise pieces of a fragment's size that hold no key are passed over.
  template <bool kFull>
  ELASTICLM_DEVICE void attend(const unsigned char* k, uint32_t v, int num_keys, float scale) {
    float scores[kTileKeys / 8][4];
    multiply_keys<kFull>(k, num_keys, scores);
    uint32_t weights[kTileKeys / 8][2];
#pragma unroll
    for (int half = 0; half < 2; ++half) weigh<kFull>(half, num_keys, scale, scores, weights);
    multiply_values<kFull>(v, num_keys, weights);
  }

  // Divides by the sum of the weights and writes the rows that the sequence has.
  ELASTICLM_DEVICE void store(const AttentionHead<T, kHeadDim>& head, int query_begin) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = sum_[half];
      sum += __shfl_xor_sync(kFullWarp, sum, 1);
      sum += __shfl_xor_sync(kFullWarp, sum, 2);
      const float gain = 1.0f / sum;
      const int row = query_begin + half * 8 + group();
      T* context = head.context(row) + place() * 8;
#pragma unroll
      for (int i = 0; i < kHeadDim / 32; ++i) {
        uint32_t pairs[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          pairs[j] = pack2<T>(out_[4 * i + j][2 * half] * gain, out_[4 * i + j][2 * half + 1] * gain);
        }
        const uint4 chunk = transpose_quad(pairs);
        if (row < head.num_rows) *reinterpret_cast<uint4*>(context + i * 32) = chunk;
      }
    }
  }

 private:
  ELASTICLM_DEVICE static int group() { return static_cast<int>(threadIdx.x) % kWarpThreads / 4; }
  ELASTICLM_DEVICE static int place() { return static_cast<int>(threadIdx.x) % 4; }

  // scores = q Kᵀ, -inf past the last key.
  template <bool kFull>
  ELASTICLM_DEVICE void multiply_keys(const unsigned char* k, int num_keys,
                                      float (&scores)[kTileKeys / 8][4]) {
    const int g = group();
#pragma unroll
    for (int j = 0; j < kTileKeys / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) scores[j][e] = 0.0f;
      if (kFull || j * 8 < num_keys) {
#pragma unroll
        for (int i = 0; i < kHeadDim / 32; ++i) {
          const int offset = chunk_offset<kHeadDim>(g, 4 * i + place()) + j * 8 * kHeadDim * 2;
          const uint4 chunk = *reinterpret_cast<const uint4*>(k + offset);
          ptx::mma_m16n8k16<T>(scores[j], q_[2 * i], {chunk.x, chunk.y});
          ptx::mma_m16n8k16<T>(scores[j], q_[2 * i + 1], {chunk.z, chunk.w});
        }
      }
      if (!kFull) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          if (j * 8 + place() * 2 + e % 2 >= num_keys) scores[j][e] = -INFINITY;
        }
      }
    }
  }

  // Turns one row's scores into weights relative to the largest score so far, rounded to the element type,
  // and brings what was gathered before to it.
  template <bool kFull>
  ELASTICLM_DEVICE void weigh(int half, int num_keys, float scale, const float (&scores)[kTileKeys / 8][4],
                              uint32_t (&weights)[kTileKeys / 8][2]) {
    float top = scores[0][2 * half];
#pragma unroll
    for (int j = 0; j < kTileKeys / 8; ++j) {
      top = fmaxf(top, fmaxf(scores[j][2 * half], scores[j][2 * half + 1]));
    }
    top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, 1));
    top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, 2));
    // Scaled and rounded once, and used in that form everywhere: an error of the rounding is common to all
    // weights.
    const float largest = fmaxf(largest_[half], top * scale);
    const float gain = ptx::exp2_approx(largest_[half] - largest);
    largest_[half] = largest;
    float sum = sum_[half] * gain;
#pragma unroll
    for (int j = 0; j < kTileKeys / 8; ++j) {
      if (!kFull && j / 2 * kPieceRows >= num_keys) continue;
      const float first = ptx::exp2_approx(fmaf(scores[j][2 * half], scale, -largest));
      const float second = ptx::exp2_approx(fmaf(scores[j][2 * half + 1], scale, -largest));
      sum += first;
      sum += second;
      weights[j][half] = pack2<T>(first, second);
    }
    sum_[half] = sum;
#pragma unroll
    for (int j = 0; j < kHeadDim / 8; ++j) {
      out_[j][2 * half] *= gain;
      out_[j][2 * half + 1] *= gain;
    }
  }

  // out += P V.
  template <bool kFull>
  ELASTICLM_DEVICE void multiply_values(uint32_t v, int num_keys,
                                        const uint32_t (&weights)[kTileKeys / 8][2]) {
    // Of the four matrices that a load brings, two are the halves of a piece's keys and two neighbouring
    // chunks of d.
    const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
    const uint32_t own = v + static_cast<uint32_t>(chunk_offset<kHeadDim>(lane % 16, lane / 16));
#pragma unroll
    for (int piece = 0; piece < kTileKeys / kPieceRows; ++piece) {
      if (!kFull && piece * kPieceRows >= num_keys) break;
      const uint32_t p[4] = {weights[2 * piece][0], weights[2 * piece][1], weights[2 * piece + 1][0],
                             weights[2 * piece + 1][1]};
#pragma unroll
      for (int i = 0; i < kHeadDim / 16; ++i) {
        uint32_t b[4];
        ptx::ldmatrix_x4_trans(b, (own ^ static_cast<uint32_t>(i * 32)) + piece * kPieceRows * kHeadDim * 2);
        ptx::mma_m16n8k16<T>(out_[2 * i], p, {b[0], b[1]});
        ptx::mma_m16n8k16<T>(out_[2 * i + 1], p, {b[2], b[3]});
      }
    }
  }

  // Four lanes with a pair of each of four chunks become four lanes with a chunk each, lane t with chunk t:
  // rows are then written in whole 32-byte sectors.
  ELASTICLM_DEVICE static uint4 transpose_quad(uint32_t (&pairs)[4]) {
#pragma unroll
    for (int distance = 1; distance <= 2; distance *= 2) {
      const bool upper = (place() & distance) != 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if ((i & distance) != 0) continue;
        const uint32_t received =
            __shfl_xor_sync(kFullWarp, upper ? pairs[i] : pairs[i + distance], distance);
        if (upper) {
          pairs[i] = received;
        } else {
          pairs[i + distance] = received;
        }
      }
    }
    return {pairs[0], pairs[1], pairs[2], pairs[3]};
  }

  uint32_t q_[kHeadDim / 16][4];
  float out_[kHeadDim / 8][4];
  float largest_[2];  // scaled
  float sum_[2];      // this lane's part
};

// All warps of the block take one item: each 16 of its queries, the keys shared. The block must have left
// `shared`.
template <typename T, int kHeadDim, int kWarps>
ELASTICLM_DEVICE void attend_together(const AttentionHead<T, kHeadDim>& head, int query_begin,
                                      unsigned char* shared) {
  constexpr int kThreads = kWarps * kWarpThreads;
  static_assert(kWarps * kPieceRows >= kAttentionQueries);
  const uint32_t address = ptx::shared_address(shared);
  const int num_tiles = (head.num_rows + kTileKeys - 1) / kTileKeys;
  const auto keys_of = [&](int tile) { return min(kTileKeys, head.num_rows - tile * kTileKeys); };
  const auto stage_of = [](int tile) { return tile % kAttentionStages * kTileBytes<kHeadDim>; };
  const auto copy = [&](int tile) {
    copy_keys<T, kHeadDim, kThreads, kTileKeys>(head, tile * kTileKeys, keys_of(tile),
                                                address + static_cast<uint32_t>(stage_of(tile)));
    ptx::cp_async_commit();
  };
  copy(0);
  if (num_tiles > 1) copy(1);

  const int first = query_begin + static_cast<int>(threadIdx.x) / kWarpThreads * kPieceRows;
  const bool has_queries = first < min(head.num_rows, query_begin + kAttentionQueries);
  QueryPiece<T, kHeadDim> piece;
  piece.load(head, first);

  const auto attend = [&]<bool kFull>(int tile) {
    if (tile == 0 && num_tiles > 1) {
      ptx::cp_async_wait<1>();
    } else {
      ptx::cp_async_wait<0>();
    }
    __syncthreads();  // all copies of this tile are there, and nobody reads the tile before it any more
    if (tile > 0 && tile + 1 < num_tiles) copy(tile + 1);
    if (!has_queries) return;
    const unsigned char* k = shared + stage_of(tile);
    const uint32_t v = address + static_cast<uint32_t>(stage_of(tile) + kTileBytes<kHeadDim> / 2);
    piece.template attend<kFull>(k, v, keys_of(tile), head.scale());
  };
  // Apart, so that neither keeps the other's addresses in registers.
  const int num_full = head.num_rows / kTileKeys;
  for (int tile = 0; tile < num_full; ++tile) attend.template operator()<true>(tile);
  if (num_full < num_tiles) attend.template operator()<false>(num_full);
  if (has_queries) piece.store(head, first);
}

// One warp takes a whole sequence of at most kCapacity rows. `shared`: 4 kCapacity D bytes of its own, which
// the warp must have left.
template <typename T, int kHeadDim, int kCapacity>
ELASTICLM_DEVICE void attend_alone(const AttentionHead<T, kHeadDim>& head, unsigned char* shared) {
  static_assert(kCapacity < kTileKeys);
  const uint32_t address = ptx::shared_address(shared);
  copy_keys<T, kHeadDim, kWarpThreads, kCapacity>(head, 0, head.num_rows, address);
  ptx::cp_async_commit();
  for (int first = 0; first < head.num_rows; first += kPieceRows) {
    QueryPiece<T, kHeadDim> piece;
    piece.load(head, first);
    if (first == 0) {
      ptx::cp_async_wait<0>();
      __syncwarp();
    }
    piece.template attend<false>(shared, address + kCapacity * kHeadDim * 2, head.num_rows, head.scale());
    piece.store(head, first);
  }
}

}  // namespace elasticlm::cuda
