// Times kernels alone on a GPU: `gpu_kernel_bench [--smoke|--profile]`, the layers of BERT-base in bf16.
// Lines of kind
// - copy: the rate of a device-to-device copy, bytes read plus bytes written
// - linear: one linear layer over so many rows at one level, by each implementation
// - attention: all heads of sequences of one length, and of ragged64
// - layer_norm: so many rows in place, bytes read plus bytes written
// Launches of one kernel follow each other between two events, over several copies of the weights in turn, so
// that they come from memory as they do in a model. --smoke is for the emulator: tiny sizes, and numbers that
// mean nothing.
#include <cuda_runtime.h>

#include <cmath>
#include <exception>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/rows.h"
#include "measure.h"
#include "shapes.h"
#include "test/cuda/device_test.h"

namespace elasticlm::bench {
namespace {

using cuda::check;
using test::DeviceArray;
using test::DeviceMemory;

struct Setup {
  EncoderConfig config;
  std::vector<int64_t> rows;
  std::vector<double> levels;
  std::vector<Shape> attention_shapes;
  int64_t copy_bytes = 0;
  int weight_copies = 0;
  int warm_up = 0;
  int rounds = 0;
  int launches = 0;  // of a round
};

Setup make_setup(const std::string& mode) {
  if (mode == "--smoke") {
    return {.config = tiny_bert(),
            .rows = {17},
            .levels = {1.0, 0.25},
            .attention_shapes = tiny_shapes(),
            .copy_bytes = 1 << 12,
            .weight_copies = 1,
            .rounds = 1,
            .launches = 1};
  }
  if (mode == "--profile") {
    return {.config = bert_base(),
            .rows = {1024, 8192},
            .levels = {1.0, 0.25},
            .attention_shapes = {{"8x512", std::vector<int64_t>(8, 512)}, ragged64()},
            .copy_bytes = 1 << 20,
            .weight_copies = 1,
            .rounds = 1,
            .launches = 1};
  }
  return {.config = bert_base(),
          .rows = {32, 128, 1024, 4096, 8192, 16640},
          .levels = {std::begin(kLevels), std::end(kLevels)},
          .attention_shapes = bert_shapes(),
          .copy_bytes = int64_t{1} << 30,
          .weight_copies = 4,
          .warm_up = 3,
          .rounds = 20,
          .launches = 20};
}

// Median time of one launch. `launch` is given 0, 1, 2, …
double launch_us(const Setup& setup, const std::function<void(int)>& launch) {
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  check(cudaEventCreate(&begin), "to create an event");
  check(cudaEventCreate(&end), "to create an event");
  std::vector<double> times;
  for (int round = -setup.warm_up; round < setup.rounds; ++round) {
    check(cudaEventRecord(begin, nullptr), "to record an event");
    for (int i = 0; i < setup.launches; ++i) launch(i);
    check(cudaEventRecord(end, nullptr), "to record an event");
    check(cudaEventSynchronize(end), "to run a kernel");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "to read an event");
    if (round >= 0) times.push_back(ms * 1e3 / setup.launches);
  }
  check(cudaEventDestroy(begin), "to destroy an event");
  check(cudaEventDestroy(end), "to destroy an event");
  return median(times);
}

void bench_copy(const Setup& setup) {
  const auto bytes = static_cast<size_t>(setup.copy_bytes);
  const DeviceMemory source(bytes);
  const DeviceMemory target(bytes);
  const double us = launch_us(setup, [&](int) {
    check(cudaMemcpyAsync(target.data(), source.data(), bytes, cudaMemcpyDeviceToDevice, nullptr), "to copy");
  });
  JsonLine("copy")
      .add("bytes", setup.copy_bytes)
      .add("gbPerS", 2e-3 * static_cast<double>(bytes) / us)
      .print();
}

// Random bf16 elements: products of zeros run faster, because they draw less power.
DeviceMemory random_elements(int64_t count, float deviation, uint64_t seed) {
  test::Random random(seed);
  std::vector<uint16_t> values(static_cast<size_t>(count));
  // A few thousand different values are random enough for the power, and quick to make.
  constexpr size_t kPeriod = 8191;
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = i < kPeriod
                    ? static_cast<uint16_t>(test::element_bits(DType::kBF16, random.normal(deviation)))
                    : values[i - kPeriod];
  }
  DeviceMemory memory(values.size() * sizeof(uint16_t));
  memory.upload(values.data(), values.size() * sizeof(uint16_t));
  return memory;
}

cuda::DeviceMatrix matrix(const DeviceMemory& memory, int64_t rows, int64_t columns, int capability) {
  cuda::DeviceMatrix view{.data = memory.data(), .rows = rows, .columns = columns, .ld = columns};
  if (capability == 90) {
    cuda::TensorMapSpec spec{
        .data = view.data, .rows = rows, .columns = columns, .ld = columns, .box_rows = cuda::kRowBlock};
    view.block_map = cuda::make_tensor_map(spec);
    spec.box_rows = cuda::kPanelRows;
    view.panel_map = cuda::make_tensor_map(spec);
  }
  return view;
}

struct Layer {
  const char* name;
  cuda::WeightRows weight_rows;
  cuda::Epilogue epilogue;
  int64_t columns;  // of the full layer
  int64_t depth;
};

std::vector<Layer> layers_of(const EncoderConfig& config) {
  using cuda::Epilogue;
  using cuda::WeightRows;
  const int64_t E = config.hidden_size;
  const int64_t F = config.intermediate_size;
  return {{"qkv", WeightRows::kColumns, Epilogue::kBias, 3 * E, E},
          {"attn_out", WeightRows::kDepth, Epilogue::kBiasResidual, E, E},
          {"ffn_up", WeightRows::kColumns, Epilogue::kBiasGelu, F, E},
          {"ffn_down", WeightRows::kDepth, Epilogue::kBiasResidual, E, F}};
}

int64_t kept_part(double level, int64_t size, int64_t unit) {
  return unit * std::llround(level * static_cast<double>(size / unit));
}

struct Implementation {
  const char* name;
  cuda::DeviceLinearForward forward;
  int capability;       // that it needs at least
  int last_capability;  // and at most
};
constexpr Implementation kImplementations[] = {{"mma", cuda::linear_mma_forward, 80, 1000},
                                               {"wgmma", cuda::linear_wgmma_forward, 90, 90}};

void bench_layer(const Setup& setup, const Layer& layer, int64_t rows, double level) {
  const int capability = test::compute_capability();
  const bool kept_rows = layer.weight_rows == cuda::WeightRows::kColumns;
  // Heads are kept as a whole; their width is a multiple of 16 as neurons are.
  const int64_t columns = kept_rows ? kept_part(level, layer.columns, cuda::kRowBlock) : layer.columns;
  const int64_t depth = kept_rows ? layer.depth : kept_part(level, layer.depth, cuda::kRowBlock);
  const int64_t stored_rows = kept_rows ? layer.columns : layer.depth;
  const int64_t stored_columns = kept_rows ? layer.depth : layer.columns;

  std::vector<DeviceMemory> weights;
  for (int i = 0; i < setup.weight_copies; ++i)
    weights.push_back(random_elements(stored_rows * stored_columns, 0.02f, static_cast<uint64_t>(i)));
  const DeviceMemory x = random_elements(rows * layer.depth, 1.0f, 7);
  const DeviceMemory y = random_elements(rows * layer.columns, 1.0f, 8);
  const DeviceArray<float> bias(std::vector<float>(static_cast<size_t>(layer.columns), 0.1f));
  const DeviceArray<cuda::LinearStep> step(
      std::vector<cuda::LinearStep>{{.group_begin = 0, .num_groups = 1}});
  const DeviceArray<cuda::LinearGroup> group(
      std::vector<cuda::LinearGroup>{{.row_begin = 0,
                                      .num_rows = static_cast<int32_t>(rows),
                                      .num_columns = static_cast<int32_t>(columns),
                                      .num_kept_columns = static_cast<int32_t>(columns),
                                      .depth = static_cast<int32_t>(depth),
                                      .row_blocks = cuda::kPrefix}});
  cuda::LaunchContext context = test::device_context();
  context.max_rows = rows;
  context.max_sequences = 1;

  std::vector<cuda::LinearArgs> args;
  for (const DeviceMemory& weight : weights) {
    args.push_back({.weight_rows = layer.weight_rows,
                    .epilogue = layer.epilogue,
                    .weight = matrix(weight, stored_rows, stored_columns, capability),
                    .bias = bias.data(),
                    .x = matrix(x, rows, layer.depth, capability),
                    .y = matrix(y, rows, layer.columns, capability),
                    .step = step.data(),
                    .groups = group.data()});
  }
  for (const Implementation& implementation : kImplementations) {
    if (capability < implementation.capability || capability > implementation.last_capability) continue;
    const double us = launch_us(
        setup, [&](int i) { implementation.forward(args[static_cast<size_t>(i) % args.size()], context); });
    const double flops =
        2.0 * static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(depth);
    JsonLine("linear")
        .add("layer", layer.name)
        .add("implementation", implementation.name)
        .add("level", level)
        .add("M", rows)
        .add("N", columns)
        .add("K", depth)
        .add("us", us)
        .add("tflops", flops / us / 1e6)
        .print();
  }
}

void bench_attention(const Setup& setup, const Shape& shape) {
  const int64_t D = setup.config.head_dim();
  const int64_t H = setup.config.num_heads;
  std::vector<cuda::AttentionTile> tiles;
  int64_t rows = 0;
  double flops = 0;
  for (const int64_t length : shape.lengths) {
    for (int64_t begin = 0; begin < length; begin += cuda::kAttentionQueries) {
      tiles.push_back({.row_begin = static_cast<int32_t>(rows),
                       .num_rows = static_cast<int32_t>(length),
                       .query_begin = static_cast<int32_t>(begin)});
    }
    rows += length;
    flops += 4.0 * static_cast<double>(H * D) * static_cast<double>(length * length);
  }
  const auto num_tiles = static_cast<int32_t>(tiles.size());
  const auto num_heads = static_cast<int32_t>(H);
  const DeviceArray<cuda::AttentionTile> device_tiles(tiles);
  const DeviceArray<cuda::AttentionGroup> group(
      std::vector<cuda::AttentionGroup>{{.num_tiles = num_tiles, .num_heads = num_heads}});
  const DeviceArray<cuda::AttentionStep> step(
      std::vector<cuda::AttentionStep>{{.num_groups = 1, .num_items = num_tiles * num_heads}});
  const DeviceMemory qkv = random_elements(rows * 3 * H * D, 1.0f, 1);
  const DeviceMemory attended = random_elements(rows * H * D, 1.0f, 2);
  cuda::LaunchContext context = test::device_context();
  context.max_rows = rows;
  context.max_sequences = static_cast<int64_t>(shape.lengths.size());
  context.max_attention_tiles = num_tiles;
  const cuda::DeviceAttentionArgs args{.head_dim = D,
                                       .qkv = qkv.data(),
                                       .context = attended.data(),
                                       .ldqkv = 3 * H * D,
                                       .ldcontext = H * D,
                                       .scale = 1.0f / std::sqrt(static_cast<float>(D)),
                                       .step = step.data(),
                                       .groups = group.data(),
                                       .tiles = device_tiles.data()};
  const double us = launch_us(setup, [&](int) { cuda::attention_mma_forward(args, context); });
  JsonLine("attention")
      .add("shape", shape.name)
      .add("tokens", rows)
      .add("us", us)
      .add("tflops", flops / us / 1e6)
      .print();
}

void bench_layer_norm(const Setup& setup, int64_t rows) {
  const int64_t E = setup.config.hidden_size;
  const DeviceMemory y = random_elements(rows * E, 1.0f, 1);
  const DeviceArray<float> gamma(std::vector<float>(static_cast<size_t>(E), 1.0f));
  const DeviceArray<float> beta(std::vector<float>(static_cast<size_t>(E), 0.0f));
  const DeviceArray<cuda::PlanHeader> header(
      std::vector<cuda::PlanHeader>{{.num_rows = static_cast<int32_t>(rows), .num_sequences = 1}});
  cuda::LaunchContext context = test::device_context();
  context.max_rows = rows;
  context.max_sequences = 1;
  const cuda::DeviceLayerNormArgs args{.gamma = gamma.data(),
                                       .beta = beta.data(),
                                       .header = header.data(),
                                       .y = y.data(),
                                       .hidden_size = E,
                                       .ldy = E,
                                       .eps = setup.config.layer_norm_eps};
  const double us = launch_us(setup, [&](int) { cuda::device_layer_norm_forward(args, context); });
  constexpr double kBytesPerElement = 4.0;  // two read, two written
  JsonLine("layer_norm")
      .add("M", rows)
      .add("us", us)
      .add("gbPerS", kBytesPerElement * static_cast<double>(rows * E) / us / 1e3)
      .print();
}

void run(const Setup& setup) {
  bench_copy(setup);
  for (const Layer& layer : layers_of(setup.config)) {
    for (const int64_t rows : setup.rows) {
      for (const double level : setup.levels) bench_layer(setup, layer, rows, level);
    }
  }
  for (const Shape& shape : setup.attention_shapes) bench_attention(setup, shape);
  for (const int64_t rows : setup.rows) bench_layer_norm(setup, rows);
}

}  // namespace
}  // namespace elasticlm::bench

int main(int argc, char** argv) {
  try {
    elasticlm::bench::run(elasticlm::bench::make_setup(argc > 1 ? argv[1] : ""));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
