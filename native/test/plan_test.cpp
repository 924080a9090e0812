#include "plan/plan.h"

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/packed_matrix.h"
#include "test/check.h"

namespace elasticlm {
namespace {

const EncoderConfig kMiniLm{30522, 384, 6, 12, 1536, 512, 2, 1e-12f};

Structure prefix(const EncoderConfig& config, double level) {
  Structure structure = Structure::full(config);
  for (LayerStructure& layer : structure.layers) {
    layer.num_heads = static_cast<int64_t>(static_cast<double>(config.num_heads) * level);
    layer.num_neurons = static_cast<int64_t>(static_cast<double>(config.intermediate_size) * level);
  }
  return structure;
}

const std::vector<Structure>& levels() {
  static const std::vector<Structure> all = {prefix(kMiniLm, 0.5), Structure::full(kMiniLm),
                                             prefix(kMiniLm, 0.25), prefix(kMiniLm, 0.1)};
  return all;
}

struct Shape {
  std::vector<int32_t> cu_seqlens = {0};
  std::vector<int32_t> structure_idx;

  void add(int64_t length, int32_t structure) {
    cu_seqlens.push_back(cu_seqlens.back() + static_cast<int32_t>(length));
    structure_idx.push_back(structure);
  }
  BatchShape view() const { return {cu_seqlens, structure_idx}; }
};

Shape uniform(int count, int64_t length, int32_t structure = 1) {
  Shape shape;
  for (int i = 0; i < count; ++i) shape.add(length, structure);
  return shape;
}

Plan plan_of(const Shape& shape, int num_threads, Precision precision = Precision::kF32) {
  return make_plan(kMiniLm, levels(), shape.view(), {.precision = precision, .num_threads = num_threads});
}

// Every rule that any plan must obey.
void check_plan(const Plan& plan, const Shape& shape, int num_threads) {
  std::vector<int> seen(shape.structure_idx.size());
  bool split_begun = false;
  for (size_t b = 0; b < plan.blocks.size(); ++b) {
    const PlanBlock& block = plan.blocks[b];
    int64_t row = 0;
    std::set<int32_t> structures;
    CHECK(!block.segments.empty(), "empty block");
    for (const Segment& segment : block.segments) {
      CHECK(segment.row_begin == row, "segment's first row");
      CHECK(structures.insert(segment.structure_idx).second, "a structure twice in one block");
      int64_t rows = 0;
      for (const int32_t sequence : segment.sequences) {
        const auto at = static_cast<size_t>(sequence);
        ++seen.at(at);
        CHECK(shape.structure_idx[at] == segment.structure_idx, "sequence in another structure's segment");
        rows += shape.cu_seqlens[at + 1] - shape.cu_seqlens[at];
      }
      CHECK(rows == segment.num_rows && rows > 0, "segment's rows");
      row += rows;
    }
    CHECK(row == block.num_rows, "block's rows");
    CHECK(block.num_rows <= plan.arena.num_rows, "arena too small");
    CHECK(block.num_chunks == 1 || block.num_chunks <= num_threads, "chunks");
    CHECK((static_cast<int64_t>(b) < plan.num_whole_blocks) == (block.num_chunks == 1), "whole blocks first");
    CHECK(!split_begun || block.num_chunks > 1, "whole block after a split one");
    split_begun = block.num_chunks > 1;
    int32_t step = 0;
    for (const Stage& stage : block.stages) {
      CHECK(stage.step_begin == step && stage.step_end > step, "stages cover the steps in order");
      CHECK((stage.num_chunks == 1) == (stage.split == Split::kWhole), "a whole stage is one chunk");
      step = stage.step_end;
    }
    CHECK(step == static_cast<int32_t>(plan.steps.size()), "stages end with the last step");
  }
  for (size_t i = 0; i < seen.size(); ++i)
    CHECK(seen[i] == 1, "sequence " + std::to_string(i) + " not exactly once");
}

TEST_CASE("every sequence exactly once, whatever the batch") {
  std::mt19937_64 random(1);
  for (int trial = 0; trial < 3000; ++trial) {
    Shape shape;
    const auto count = static_cast<int>(random() % 60);
    const int64_t longest = trial % 3 == 0 ? 4 : trial % 3 == 1 ? 60 : 512;
    const auto num_structures = static_cast<int32_t>(1 + random() % 4);
    for (int i = 0; i < count; ++i) {
      shape.add(1 + static_cast<int64_t>(random() % static_cast<uint64_t>(longest)),
                static_cast<int32_t>(random() % static_cast<uint64_t>(num_structures)));
    }
    const auto num_threads = static_cast<int>(1 + random() % 5);
    check_plan(plan_of(shape, num_threads), shape, num_threads);
  }
}

TEST_CASE("an empty batch plans nothing") {
  const Plan plan = plan_of(Shape(), 2);
  CHECK(plan.blocks.empty() && plan.max_seqlen == 0, "blocks");
}

TEST_CASE("blocks hold about 128 rows; a longer sequence stands alone") {
  const Plan eight = plan_of(uniform(8, 128), 1);
  CHECK(eight.blocks.size() == 8 && eight.num_whole_blocks == 8, "8x128 is 8 blocks");
  const Plan small = plan_of(uniform(64, 16), 1);
  CHECK(small.blocks.size() == 8, "64x16 is 8 blocks, got " + std::to_string(small.blocks.size()));
  for (const PlanBlock& block : small.blocks)
    CHECK(block.num_rows == 128, "rows " + std::to_string(block.num_rows));

  Shape mixed = uniform(10, 20);
  mixed.add(300, 1);
  for (const PlanBlock& block : plan_of(mixed, 1).blocks) {
    const bool is_long = block.num_rows >= 300;
    CHECK(!is_long || block.num_rows == 300, "joined to a long sequence: " + std::to_string(block.num_rows));
    CHECK(is_long || block.num_rows <= 136, "rows " + std::to_string(block.num_rows));
  }
}

TEST_CASE("a small remainder joins a full block") {
  Shape shape = uniform(1, 126);
  shape.add(3, 1);
  CHECK(plan_of(shape, 1).blocks.size() == 1, "129 rows are one block");
}

TEST_CASE("blocks are even: no short pass over the weights at the end") {
  const Plan plan = plan_of(uniform(10, 30), 1);
  for (const PlanBlock& block : plan.blocks)
    CHECK(block.num_rows >= 90, "rows " + std::to_string(block.num_rows));
}

TEST_CASE("tiny groups of different structures share a block, in falling order") {
  Shape shape;
  for (const int32_t structure : {2, 0, 3, 1}) shape.add(3, structure);
  const Plan plan = plan_of(shape, 1);
  CHECK(plan.blocks.size() == 1 && plan.blocks[0].segments.size() == 4, plan.to_string(kMiniLm, levels()));
  const std::vector<int32_t> falling = {1, 0, 2, 3};
  for (size_t i = 0; i < 4; ++i)
    CHECK(plan.blocks[0].segments[i].structure_idx == falling[i], "segment " + std::to_string(i));
}

TEST_CASE("a tiny group joins another structure's block when there is room, larger groups stand apart") {
  Shape shape = uniform(1, 60, 0);
  shape.add(4, 1);
  const Plan joined = plan_of(shape, 1);
  CHECK(joined.blocks.size() == 1 && joined.blocks[0].segments.size() == 2, "4 rows join 60");
  CHECK(joined.blocks[0].segments[0].structure_idx == 1, "the larger structure comes first");

  Shape apart = uniform(1, 60, 0);
  apart.add(30, 1);
  CHECK(plan_of(apart, 1).blocks.size() == 2, "30 rows and 60 rows of two structures are two blocks");
}

TEST_CASE("few blocks are split among the threads, many are not") {
  const Plan one = plan_of(uniform(1, 128), 2);
  CHECK(one.blocks[0].num_chunks == 2 && one.num_whole_blocks == 0, "1x128 on two threads");
  CHECK(plan_of(uniform(1, 128), 1).blocks[0].num_chunks == 1, "1x128 on one thread");
  CHECK(plan_of(uniform(8, 128), 2).num_whole_blocks == 8, "8x128 on two threads");
  const Plan three = plan_of(uniform(3, 128), 2);
  CHECK(three.num_whole_blocks == 2, "3x128 on two threads: two side by side, the third split");
  const auto by_panels = [](const Plan& plan) {
    const std::vector<Stage>& stages = plan.blocks[0].stages;
    return std::ranges::any_of(stages, [](const Stage& stage) { return stage.split == Split::kPanels; });
  };
  CHECK(by_panels(plan_of(uniform(1, 15), 2)), "1x15 is split by panels");
  CHECK(!by_panels(plan_of(uniform(1, 16), 2)), "1x16 is split by rows");
  Shape uneven = uniform(2, 16);
  uneven.add(512, 1);
  for (const PlanBlock& block : plan_of(uneven, 2).blocks) {
    CHECK(block.num_rows != 512 || block.num_chunks == 2,
          "a sequence that would outlast all others is split");
  }
}

// Bytes of an arena that hold something.
struct Bytes {
  const char* name;
  int64_t begin;
  int64_t end;
};

Bytes bytes_of(const char* name, const Region& region, int64_t num_rows) {
  return {name, region.begin, region.row(num_rows)};
}

// What must be apart, step by step: what a step reads, what it writes and what a later one still reads.
std::vector<std::vector<Bytes>> live_together(const ArenaLayout& arena, Precision precision,
                                              bool rows_split) {
  const int64_t rows = arena.num_rows;
  const int64_t id_bytes = 3 * rows * static_cast<int64_t>(sizeof(int32_t));
  const Bytes ids{"ids", arena.ids, arena.ids + id_bytes};
  const Bytes hidden = bytes_of("hidden", arena.hidden, rows);
  const Bytes hidden_operand = bytes_of("hidden operand", arena.hidden_operand, rows);
  const Bytes qkv{"qkv", arena.qkv.begin,
                  arena.qkv.begin + kMiniLm.num_heads * arena.qkv_head_stride * arena.qkv.element_bytes};
  const Bytes context = bytes_of("context", arena.context, rows);
  const Bytes context_operand = bytes_of("context operand", arena.context_operand, rows);
  const Bytes ffn = bytes_of("ffn", arena.ffn, rows);
  const Bytes ffn_operand = bytes_of("ffn operand", arena.ffn_operand, rows);
  const int64_t scale_bytes = rows * static_cast<int64_t>(sizeof(RowScale));
  const Bytes scales{"row scales", arena.row_scales, arena.row_scales + scale_bytes};

  std::vector<std::vector<Bytes>> steps;
  if (precision == Precision::kF32) {
    steps = {{ids, hidden}, {hidden, qkv, context}, {hidden, ffn}};
  } else if (precision == Precision::kBF16) {
    steps = {{ids, hidden, hidden_operand},
             {hidden, hidden_operand, qkv},
             {hidden, qkv, context},
             {hidden, context_operand},
             {hidden, hidden_operand, ffn}};
  } else {
    steps = {{ids, hidden, hidden_operand, scales},
             {hidden, hidden_operand, scales, qkv},
             {hidden, qkv, context},
             {hidden, context, context_operand, scales},
             {hidden, hidden_operand, scales, ffn},
             {hidden, ffn, ffn_operand, scales}};
  }
  // A chunk of rows may be in the FFN while another is still in the attention's projections.
  if (rows_split) steps.insert(steps.end(), {{hidden, qkv, ffn}, {context_operand, ffn}, {context, ffn}});
  return steps;
}

TEST_CASE("arena: regions that live together are apart, and no level needs a larger one") {
  for (const Precision precision : {Precision::kF32, Precision::kBF16, Precision::kI8}) {
    for (const int num_threads : {1, 2}) {
      for (const int64_t length : {7, 16, 100, 300}) {
        const Plan full = plan_of(uniform(1, length, 1), num_threads, precision);
        const Plan least = plan_of(uniform(1, length, 3), num_threads, precision);
        CHECK(full.arena.num_bytes == least.arena.num_bytes, "arena differs by level");
        const ArenaLayout& arena = full.arena;
        bool rows_split = false;
        for (const Stage& stage : full.blocks[0].stages)
          rows_split = rows_split || stage.split == Split::kRows;
        for (const auto& step : live_together(arena, precision, rows_split)) {
          for (const Bytes& a : step) {
            const std::string what = std::string(precision_name(precision)) + " " + a.name;
            CHECK(a.begin % 64 == 0, what + " not at a cache line");
            CHECK(a.end <= arena.num_bytes, what + " past the end");
            for (const Bytes& b : step) {
              CHECK(&a == &b || a.end <= b.begin || b.end <= a.begin, what + " overlaps " + b.name);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("arena: rows hold whole weight blocks and fall into different cache sets, regions are no larger") {
  for (const Precision precision : {Precision::kF32, Precision::kBF16, Precision::kI8}) {
    const ArenaLayout arena = plan_of(uniform(1, 100), 1, precision).arena;
    struct Expected {
      const char* name;
      const Region& region;
      int64_t columns;
      int64_t element_bytes;
    };
    const int64_t activation = precision == Precision::kF32 ? 4 : 2;
    const int64_t operand = element_bytes(precision);
    const bool is_i8 = precision == Precision::kI8;
    const int64_t operand_columns = is_i8 ? kMiniLm.intermediate_size : kMiniLm.hidden_size;
    for (const Expected& expected :
         {Expected{"hidden", arena.hidden, kMiniLm.hidden_size, 4},
          Expected{"context", arena.context, kMiniLm.hidden_size, activation},
          Expected{"ffn", arena.ffn, kMiniLm.intermediate_size, activation},
          Expected{"hidden operand", arena.hidden_operand, operand_columns, operand},
          Expected{"context operand", arena.context_operand, operand_columns, operand},
          Expected{"ffn operand", arena.ffn_operand, kMiniLm.intermediate_size, operand}}) {
      const auto& [name, region, columns, size] = expected;
      const std::string what = std::string(precision_name(precision)) + " " + name;
      CHECK(region.element_bytes == size, what + ": bytes of an element");
      CHECK(region.ld >= round_up(columns, kBlockColumns), what + ": rows too short for whole weight blocks");
      CHECK(region.ld * size % 128 == 64, what + ": rows are no odd number of cache lines");
      CHECK(region.ld * size < columns * size + 192, what + ": rows longer than they need to be");
    }
  }
}

TEST_CASE("i8 quantises context and ffn without a meeting of the threads that f32 does not have") {
  const auto steps_of = [](const Plan& plan, StepOp op) {
    return std::ranges::count_if(plan.steps, [&](const PlanStep& step) { return step.op == op; });
  };
  for (const Precision precision : {Precision::kF32, Precision::kBF16, Precision::kI8}) {
    const Plan plan = plan_of(uniform(1, 128), 2, precision);
    const int64_t expected = precision == Precision::kI8 ? kMiniLm.num_layers : 0;
    CHECK(steps_of(plan, StepOp::kQuantizeContext) == expected, precision_name(precision));
    CHECK(steps_of(plan, StepOp::kQuantizeFfn) == expected, precision_name(precision));
    // embedding to the first queries; attention; from the output projection to the next layer's queries
    CHECK(std::ssize(plan.blocks[0].stages) == 2 * kMiniLm.num_layers + 1, plan.to_string(kMiniLm, levels()));
  }
  const Plan panels = plan_of(uniform(1, 8), 2, Precision::kI8);
  for (const Stage& stage : panels.blocks[0].stages) {
    for (int32_t i = stage.step_begin; i < stage.step_end; ++i) {
      const StepOp op = panels.steps[static_cast<size_t>(i)].op;
      const bool quantizes = op == StepOp::kQuantizeContext || op == StepOp::kQuantizeFfn;
      CHECK(!quantizes || stage.split == Split::kWhole, "whole rows are quantised");
    }
  }
}

TEST_CASE("chunk_range covers everything once, at multiples of the granularity") {
  for (int64_t size = 0; size <= 70; ++size) {
    for (const int64_t granularity : {1, 3, 8}) {
      for (int64_t num_chunks = 1; num_chunks <= 9; ++num_chunks) {
        int64_t end = 0;
        for (int64_t i = 0; i < num_chunks; ++i) {
          const Range range = chunk_range(size, granularity, num_chunks, i);
          CHECK(range.begin == end && range.end >= range.begin, "not in order");
          CHECK(range.end == size || range.end % granularity == 0, "not at a multiple");
          end = range.end;
        }
        CHECK(end == size, "not covered");
      }
    }
  }
}

TEST_CASE("plan_flops counts kept work only") {
  const Shape shape = uniform(2, 10, 1);
  // By hand: per row and layer 2 * (4 E E + 2 E F), and 4 S S E of attention per sequence and layer.
  const double expected = 2 * 6 * (10.0 * 2 * (4.0 * 384 * 384 + 2.0 * 384 * 1536) + 4.0 * 100 * 384);
  CHECK(plan_flops(kMiniLm, levels(), shape.view()) == expected, "full model");
  Structure nothing = prefix(kMiniLm, 0.0);
  CHECK(plan_flops(kMiniLm, std::vector<Structure>{nothing, nothing}, shape.view()) == 0.0, "nothing kept");
}

TEST_CASE("to_string names every block, stage and what is skipped") {
  Shape shape = uniform(1, 16, 1);
  shape.add(4, 0);
  std::vector<Structure> structures = levels();
  structures[0].layers[2].num_heads = 0;
  const Plan plan =
      make_plan(kMiniLm, structures, shape.view(), {.precision = Precision::kI8, .num_threads = 4});
  const std::string text = plan.to_string(kMiniLm, structures);
  for (const char* part :
       {"i8", "block 0", "qkv_proj", "M=16 N=1152 K=384", "M=4 N=768 K=384", "quantize_context",
        "quantize_ffn", "M=16 N=1536\n", "skipped", "panels, 4 chunks"}) {
    CHECK(text.find(part) != std::string::npos, std::string("missing \"") + part + "\" in:\n" + text);
  }
}

}  // namespace
}  // namespace elasticlm
