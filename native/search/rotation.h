// The rotation that an i8 index applies to every vector, stored or asked, before it is quantised.
//
// Quantising to whole steps of the largest element wastes them on a vector whose elements differ in size, as
// embeddings do. An orthogonal map that spreads each element over many leaves all dot products as they are
// and makes elements alike: over 1M x 384 clustered vectors the 100 best of i8 held 98.8 of the exact 100
// without it (2026-11-24).
//
// Elements are dealt to blocks in turn, get signs that depend on their place alone, and each block goes
// through a Walsh-Hadamard transform; a block is the largest power of two that divides the row.
#pragma once

#include <cstdint>
#include <span>

namespace elasticlm {

// vector: [dims]; rotated: [code_stride(dims)].
void rotate_vector(std::span<const float> vector, std::span<float> rotated);

}  // namespace elasticlm
