// From the accumulators of WGMMA to y: bias, activation or residual, zeros, and stores of whole 32-byte
// sectors.
#pragma once

#include "kernels/cuda/epilogue.cuh"
#include "kernels/cuda/linear_wgmma_stages.cuh"

namespace elasticlm::cuda::wgmma {

// Lanes 2 i and 2 i + 1 hold the words i of the neighbouring 8-column blocks `first` and `second` of a row,
// as WGMMA leaves them; after it the even lane holds two neighbouring words of the first block and the odd
// lane two of the second, so that the four lanes of a row store or load 32 bytes on end, 8 each. The same
// exchange leads back.
ELASTICLM_DEVICE void exchange(uint32_t& first, uint32_t& second) {
  const bool odd = threadIdx.x % 2 != 0;
  const uint32_t received = __shfl_xor_sync(kFullWarp, odd ? first : second, 1);
  if (odd) {
    first = received;
  } else {
    second = received;
  }
}

// The places of this thread's results: rows lane / 4 and lane / 4 + 8 of its warp's 16, and of each 16
// columns four.
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

inline constexpr int kPiece = 32;  // columns of one turn of the epilogue
inline constexpr int kPieces = kMaxColumns / kPiece;
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

// Element 4 j + 2 r + i of `sums` belongs to row r of OutputPlaces and column 8 j + 2 (lane % 4) + i of the
// piece.
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
    case 0:
      return copy_piece<0>(acc, sums);
    case 1:
      return copy_piece<1>(acc, sums);
    case 2:
      return copy_piece<2>(acc, sums);
    case 3:
      return copy_piece<3>(acc, sums);
    case 4:
      return copy_piece<4>(acc, sums);
    case 5:
      return copy_piece<5>(acc, sums);
    case 6:
      return copy_piece<6>(acc, sums);
    default:
      return copy_piece<7>(acc, sums);
  }
}

// One turn's code for all pieces, at the price of a copy: eight copies of the activations would crowd the
// instruction cache.
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

// The residual of so many pieces is asked for before the products, because L2 is far: 48 registers. Later
// pieces follow in what the finished ones leave free, and for that this loop is unrolled.
inline constexpr int kPiecesAhead = 6;

template <typename T>
ELASTICLM_DEVICE void store_with_residual(const TileNote& note, const OutputPlaces<T>& places,
                                          ResidualPiece (&residual)[kPiecesAhead],
                                          float (&acc)[kMaxColumns / 2]) {
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

}  // namespace elasticlm::cuda::wgmma
