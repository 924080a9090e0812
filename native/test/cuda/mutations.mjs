// @ts-check
/**
 * Bugs that a kernel could have, each a change of one place, and the test program that must see it. Run by
 * scripts/mutate-kernels.mjs, which fails when a text is no longer where it was.
 *
 * @typedef {object} Mutation
 * @property {string} name what the change does
 * @property {string} file below native/
 * @property {'missing barrier' | 'wrong wait count' | 'wrong mask' | 'wrong descriptor' | 'wrong parity' | 'missing fence' |
 *   'wrong address' | 'wrong order'} class
 * @property {string} find exactly once in the file, or at least `occurrence` times
 * @property {number} [occurrence] which of them is changed, from 1
 * @property {string} replace
 * @property {string} test program of native/test/cuda
 * @property {string} filter what its cases' names must contain; '' for all
 */

/** @type {readonly Mutation[]} */
export const mutations = [
  // --- linear_mma ---
  {
    name: 'fragments are read before all copies of the first stage are there',
    file: 'kernels/cuda/linear_mma_tile.cuh',
    class: 'missing barrier',
    find: `    __syncthreads();
    if (kReadsAhead && num_steps > 0) load_fragments`,
    replace: '    if (kReadsAhead && num_steps > 0) load_fragments',
    test: 'linear_test',
    filter: 'groups of random structures',
  },
  {
    name: 'a stage is read while its copies may still be on their way',
    file: 'kernels/cuda/linear_mma_tile.cuh',
    class: 'wrong wait count',
    find: `          ptx::cp_async_wait<kConfig.num_stages - 2>();
          __syncthreads();`,
    replace: `          ptx::cp_async_wait<kConfig.num_stages - 1>();
          __syncthreads();`,
    test: 'linear_test',
    filter: 'groups of random structures',
  },
  {
    name: 'a stage is overwritten while slower warps read it',
    file: 'kernels/cuda/linear_mma_tile.cuh',
    class: 'missing barrier',
    find: `          ptx::cp_async_wait<kConfig.num_stages - 2>();
          __syncthreads();`,
    replace: '          ptx::cp_async_wait<kConfig.num_stages - 2>();',
    test: 'linear_test',
    filter: 'any order of warps',
  },
  {
    name: 'the lower half of the rows of x is read twice',
    file: 'kernels/cuda/linear_mma_tile.cuh',
    class: 'wrong address',
    find: 'swizzled<kDepthChunks>(part.row + lane % 16, lane / 16)',
    replace: 'swizzled<kDepthChunks>(part.row + lane % 8, lane / 16)',
    test: 'linear_test',
    filter: 'groups of random structures',
  },
  {
    name: 'the first block of a list is taken for every step of depth',
    file: 'kernels/cuda/linear_mma_tile.cuh',
    class: 'wrong address',
    find: 'stored_row(loader.group, args.row_blocks, k / kMmaStep + step)',
    replace: 'stored_row(loader.group, args.row_blocks, k / kMmaStep)',
    test: 'linear_test',
    filter: 'groups of random structures',
  },
  {
    name: 'sums are read from shared memory before the other lanes have staged theirs',
    file: 'kernels/cuda/linear_mma_store.cuh',
    class: 'missing barrier',
    find: `      __syncwarp();
#pragma unroll 1`,
    replace: '#pragma unroll 1',
    test: 'linear_test',
    filter: 'groups of random structures',
  },
  {
    name: 'one row below the tile is written',
    file: 'kernels/cuda/linear_mma_store.cuh',
    class: 'wrong mask',
    find: 'if (store.row < store.num_rows) {',
    replace: 'if (store.row <= store.num_rows) {',
    test: 'linear_test',
    filter: 'groups of random structures',
  },
  {
    name: 'x is read before the kernel that writes it has ended',
    file: 'kernels/cuda/linear_mma.cu',
    class: 'missing fence',
    find: 'if (tile_idx == first_idx) ptx::grid_dependency_wait();',
    replace: '',
    test: 'linear_test',
    filter: 'a chain of programmatic launches',
  },
  // --- linear_wgmma ---
  {
    name: 'TMA may not see the initialised barriers',
    file: 'kernels/cuda/linear_wgmma.cu',
    class: 'missing fence',
    find: '    ptx::mbarrier_init_fence();\n',
    replace: '',
    test: 'wgmma_linear_test',
    filter: 'short and long groups',
  },
  {
    name: 'accumulators are handed to WGMMA while ordinary writes to them may be on their way',
    file: 'kernels/cuda/linear_wgmma.cu',
    class: 'missing fence',
    find: '  ptx::wgmma_fence();\n',
    replace: '',
    test: 'wgmma_linear_test',
    filter: 'short and long groups',
  },
  {
    name: 'a stage is released while its products may still read it',
    file: 'kernels/cuda/linear_wgmma.cu',
    class: 'wrong wait count',
    find: 'ptx::wgmma_wait<1>();',
    replace: 'ptx::wgmma_wait<3>();',
    test: 'wgmma_linear_test',
    filter: 'any order',
  },
  {
    name: 'sums are stored while products may still add to them',
    file: 'kernels/cuda/linear_wgmma.cu',
    class: 'wrong wait count',
    find: 'ptx::wgmma_wait<0>();',
    replace: 'ptx::wgmma_wait<1>();',
    test: 'wgmma_linear_test',
    filter: 'short and long groups',
  },
  {
    name: 'a stage is free when all but one of the warps that read it have said so',
    file: 'kernels/cuda/linear_wgmma.cu',
    class: 'wrong wait count',
    find: 'ptx::mbarrier_init(ptx::shared_address(&control().empty[i]), kConsumerWarps);',
    replace: 'ptx::mbarrier_init(ptx::shared_address(&control().empty[i]), kConsumerWarps - 1);',
    test: 'wgmma_linear_test',
    filter: 'any order',
  },
  {
    name: 'the producer waits for the phase before the one that frees the stage',
    file: 'kernels/cuda/linear_wgmma_producer.cuh',
    class: 'wrong parity',
    find: 'ptx::mbarrier_wait(empty + 8 * position.slot, position.parity ^ 1);',
    replace: 'ptx::mbarrier_wait(empty + 8 * position.slot, position.parity);',
    test: 'wgmma_linear_test',
    filter: 'any order',
  },
  {
    name: 'parities never turn',
    file: 'kernels/cuda/linear_wgmma_stages.cuh',
    class: 'wrong parity',
    find: '      parity ^= 1;\n',
    replace: '',
    test: 'wgmma_linear_test',
    filter: 'any order',
  },
  {
    name: 'a stage is full when half of x is there',
    file: 'kernels/cuda/linear_wgmma_producer.cuh',
    class: 'wrong wait count',
    find: 'x_panels * kPanelBytes + blocks * kBlockBytes',
    replace: 'kPanelBytes + blocks * kBlockBytes',
    test: 'linear_test',
    filter: 'every remainder of rows',
  },
  {
    name: 'the distance of 8 stored rows is twice what it is',
    file: 'kernels/cuda/matrix_descriptor.cuh',
    class: 'wrong descriptor',
    find: 'uint64_t{kSwizzleAtomBytes >> 4} << 32',
    replace: 'uint64_t{kSwizzleAtomBytes >> 3} << 32',
    test: 'wgmma_linear_test',
    filter: 'short and long groups',
  },
  {
    name: 'the next panel of N is said to be one block of rows away',
    file: 'kernels/cuda/matrix_descriptor.cuh',
    class: 'wrong descriptor',
    find: 'kMajor == ptx::Major::kN ? kPanelBytes >> 4 : 1',
    replace: 'kMajor == ptx::Major::kN ? kBlockBytes >> 4 : 1',
    test: 'wgmma_linear_test',
    filter: 'short and long groups',
  },
  {
    name: 'a step of depth is half a step',
    file: 'kernels/cuda/matrix_descriptor.cuh',
    class: 'wrong descriptor',
    find: 'kMmaDepth * kLineBytes : kMmaDepth * 2) >> 4',
    replace: 'kMmaDepth * kLineBytes : kMmaDepth) >> 4',
    test: 'wgmma_linear_test',
    filter: 'short and long groups',
  },
  {
    name: 'the first column that is left out is stored all the same',
    file: 'kernels/cuda/linear_wgmma_epilogue.cuh',
    class: 'wrong mask',
    find: '>= note.num_kept) sums[i] = 0.0f',
    replace: '> note.num_kept) sums[i] = 0.0f',
    test: 'linear_test',
    filter: 'columns that are left out',
  },
  // --- attention ---
  {
    name: 'the key after the last one takes part',
    file: 'kernels/cuda/attention_tile.cuh',
    class: 'wrong mask',
    find: '+ e % 2 >= num_keys) scores[j][e]',
    replace: '+ e % 2 > num_keys) scores[j][e]',
    test: 'attention_test',
    filter: 'batches of random structures',
  },
  {
    name: 'keys and values of 16 that are partly there are not zeros beyond',
    file: 'kernels/cuda/attention_tile.cuh',
    class: 'wrong mask',
    find: 'const int rows = (num_keys + kPieceRows - 1) / kPieceRows * kPieceRows;',
    replace: 'const int rows = num_keys;',
    test: 'attention_test',
    filter: 'batches of random structures',
  },
  {
    name: 'what was gathered under a smaller maximum keeps its weight',
    file: 'kernels/cuda/attention_tile.cuh',
    class: 'wrong order',
    find: '      out_[j][2 * half] *= gain;\n',
    replace: '',
    test: 'attention_test',
    filter: 'a sequence of 512',
  },
  {
    name: 'a warp that takes a sequence alone reads its keys before they are there',
    file: 'kernels/cuda/attention_tile.cuh',
    class: 'wrong wait count',
    find: `      ptx::cp_async_wait<0>();
      __syncwarp();`,
    replace: `      ptx::cp_async_wait<1>();
      __syncwarp();`,
    test: 'attention_test',
    filter: 'batches of random structures',
  },
  {
    name: 'keys of the next sequence overwrite those that slower warps read',
    file: 'kernels/cuda/attention_mma.cu',
    class: 'missing barrier',
    find: '    __syncthreads();  // nobody reads',
    replace: '    // nobody reads',
    test: 'attention_test',
    filter: 'batches of random structures',
  },
  // --- rows ---
  {
    name: 'squares run over one chunk past the row',
    file: 'kernels/cuda/row_norm.cuh',
    class: 'wrong mask',
    find: 'if (lane + i * kWarpThreads < num_chunks) squares',
    replace: 'if (lane + i * kWarpThreads <= num_chunks) squares',
    test: 'rows_test',
    filter: 'layer_norm',
  },
  {
    name: 'the sum over a warp leaves out half of the lanes',
    file: 'kernels/cuda/warp_reduce.cuh',
    class: 'wrong order',
    find: 'offset > 0; offset /= 2)\n    value +=',
    replace: 'offset > 1; offset /= 2)\n    value +=',
    test: 'rows_test',
    filter: 'layer_norm',
  },
  {
    name: 'sums of rows are added before all threads have theirs',
    file: 'kernels/cuda/pooling.cu',
    class: 'missing barrier',
    find: `    __syncthreads();
    float squares = 0.0f;`,
    replace: '    float squares = 0.0f;',
    test: 'rows_test',
    filter: 'pooling',
  },
  // --- the small-request kernel ---
  {
    name: 'a block goes on before the others have arrived',
    file: 'kernels/cuda/small_forward.cu',
    class: 'missing barrier',
    find: `      barrier_.arrive();
      barrier_.wait();`,
    replace: '      barrier_.arrive();',
    test: 'device_encoder_test',
    filter: 'pooled, pooler and logits',
  },
  {
    name: 'only the thread that waits for the other blocks waits for them',
    file: 'kernels/cuda/small_forward.cu',
    class: 'missing barrier',
    find: `      }
    }
    __syncthreads();
  }

 private:
  uint32_t* count_;`,
    replace: `      }
    }
  }

 private:
  uint32_t* count_;`,
    test: 'device_encoder_test',
    filter: 'pooled, pooler and logits',
  },
  {
    name: 'a chunk of rows is read while its copies may be on their way',
    file: 'kernels/cuda/small_linear.cuh',
    class: 'wrong wait count',
    find: 'kRowsPassBy ? kSmallRowSlots - 2 : kSmallWeightSlots - 2',
    replace: 'kRowsPassBy ? kSmallRowSlots - 1 : kSmallWeightSlots - 1',
    test: 'device_encoder_test',
    filter: 'pooled, pooler and logits',
  },
  {
    name: 'a chunk is overwritten while slower warps read it',
    file: 'kernels/cuda/small_linear.cuh',
    class: 'missing barrier',
    find: '      __syncthreads();  // the chunk is here',
    replace: '      // the chunk is here',
    test: 'device_encoder_test',
    filter: 'pooled, pooler and logits',
  },
  {
    name: 'the first neuron that is left out is computed',
    file: 'kernels/cuda/small_forward.cu',
    class: 'wrong mask',
    find: 'const float first = at.column < at.num_kept_columns',
    replace: 'const float first = at.column <= at.num_kept_columns',
    test: 'device_encoder_test',
    filter: 'hidden states agree',
  },
];
