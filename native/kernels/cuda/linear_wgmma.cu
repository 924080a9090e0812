// The linear layers of compute capability 9.0: WGMMA fed by TMA, one persistent block of three warpgroups for
// each SM.
//
//   warpgroup 0  Warp 0 loads x and weights into a ring of stages of 64 of depth. Warp 1 looks up what else
//                consumers need of a tile (its place, its bias through the list of blocks) and notes it in a
//                ring of its own.
//   1 and 2      multiply 64 rows of the tile each, then store them. They share the stages, and the second
//                stays two stages behind: while one is in its epilogue, the other has the tensor cores to
//                itself. The loads of the next tile begin while both still work on this one.
//
// Elastic sizes are not rounded up to the tile: the last columns of a group are multiplied with N rounded up
// to 64, the last depth with the k16 steps that there are, and only the boxes that these need are loaded.
//
// Model of a tile of `rows` x N at an SM, in cycles for each k16 step. In a cycle an SM makes 2048 products
// of 16-bit elements, moves 128 bytes of shared memory and receives about 56 bytes from L2.
//
//   products  rows N 16 / 2048: 256 at 128 x 256, 192 at 128 x 192.
//   shared    Each consumer's instruction reads 64 x 16 of x and N x 16 of weights, and TMA writes (rows + N)
//             x 16, of 2 bytes: 256 at 128 x 256, so that the tensor cores just stay busy; 208 at 128 x 192
//             (92 % of them), 160 at 128 x 128 (80 %), 64 at 64 x 64. Never less than the products.
//   loads     (rows + N) 16 elements: 219 at 128 x 256, 183 at 128 x 192, 73 at 64 x 64. A TMA instruction
//             brings 8 KB, 2 KB of a scattered list: 5 to 18 of them in the 830 or more cycles of a stage.
//
// A tile ends with 2 N cycles of epilogue and about 400 until products run again; the lag hides part of it.
// GELU takes 12 instructions an element more, 6 N. choose_shape takes the shape that makes the sum over the
// waves least. For 8192 rows on 132 SMs:
//
//     N     K  tile       tiles  waves      cycles     of the tensor cores' peak
//   2304   768  128 x 192    768  5.8 of 6  6 x 10800  83 %, with 128 x 256 4.4 of 5 waves of 13200: 81 %
//    768   768  128 x 192    256  1.9 of 2  2 x 10800  83 %, with 128 x 256 1.5 of 2 waves of 13200: 68 %
//   3072   768  128 x 256    768  5.8 of 6  6 x 13200  90 %, GELU 80 %
//    768  3072  128 x 192    256  1.9 of 2  2 x 40700  88 %
//
// What L2 and the clock under load take off these, a GPU has to say.
#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/linear_wgmma_epilogue.cuh"
#include "kernels/cuda/linear_wgmma_producer.cuh"
#include "kernels/cuda/linear_wgmma_stages.cuh"

namespace elasticlm::cuda {
namespace wgmma {
namespace {

// Where one of the two consuming warpgroups is.
struct Consumer {
  const StageLayout& layout;
  int idx;
  int panel;     // which 64 rows of the present tile
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
  const uint64_t a = matrix_descriptor<ptx::Major::kK>(stage + consumer.panel * kPanelBytes);
  const uint64_t b = matrix_descriptor<kMajor>(stage + consumer.layout.weight_offset);
  ptx::wgmma_fence();
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    ptx::wgmma_m64k16<T, N, kMajor>(acc, a + i * kDescriptorStep<ptx::Major::kK>,
                                    b + i * kDescriptorStep<kMajor>, true);
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
    __syncwarp();  // nobody may still wait for a phase that the release lets end
    consumer.release(consumer.position.slot);
    consumer.position.advance(consumer.layout.num_stages);
  }
}

template <typename T, ptx::Major kMajor>
ELASTICLM_DEVICE void compute_tile(const LinearArgs& args, const TileNote& note, Consumer& consumer) {
  const int warp_row = consumer.panel * kPanelRows + static_cast<int>(threadIdx.x) / kWarpThreads % 4 * 16;
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
  Consumer consumer{
      layout, static_cast<int>(threadIdx.x) / kWarpgroupThreads - 1, 0, threadIdx.x % kWarpThreads == 0, {}};
  ptx::grid_dependency_wait();
  RingPosition position;
  for (bool first = true;; first = false) {
    const TileNote& note = control().notes[position.slot];
    ptx::mbarrier_wait(ptx::shared_address(&control().note_full[position.slot]), position.parity);
    if (note.num_rows == 0) return;
    if (first && consumer.idx > 0 && note.num_steps > kConsumerLag * kStepsPerStage) {
      ptx::mbarrier_wait(ptx::shared_address(&control().full[kConsumerLag]), 0);
    }
    consumer.panel = consumer.idx ^ note.lead;
    if (note.num_rows > consumer.panel * kPanelRows) {
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
    ptx::tma_prefetch(&args.x.panel_map);
    ptx::tma_prefetch(&args.weight.panel_map);
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
  shape.grid.x =
      static_cast<unsigned>(std::clamp<int64_t>(most_tiles(args, context, kSmallest), 1, context.num_sms));
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
}  // namespace wgmma

void linear_wgmma_forward(const LinearArgs& args, const LaunchContext& context) {
  if (args.dtype == DType::kF16) {
    wgmma::launch_linear_of<f16>(args, context);
  } else {
    wgmma::launch_linear_of<bf16>(args, context);
  }
}

}  // namespace elasticlm::cuda
