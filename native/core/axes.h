// The axes vocabulary. Every shape comment in native/ uses these letters, always in row-major order.
//
//   B  sequences in a batch        T  packed tokens of a batch (all sequences end to end)
//   S  tokens of one sequence      L  encoder layers
//   H  attention heads             D  head_dim
//   E  hidden_size (= H * D)       F  intermediate_size, the FFN's neurons
//   V  vocab_size                  M, N, K  rows, columns and depth of a matrix product
//
// "ld" before a name is the distance in elements between the starts of two rows.
#pragma once
