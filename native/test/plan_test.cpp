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

Plan plan_of(const Shape& shape, int num_threads) {
  return make_plan(kMiniLm, levels(), shape.view(), num_threads);
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

TEST_CASE("arena: regions that live together are apart, and no level needs a larger one") {
  for (const int num_threads : {1, 2}) {
    for (const int64_t length : {7, 16, 100, 300}) {
      const Plan full = plan_of(uniform(1, length, 1), num_threads);
      const Plan least = plan_of(uniform(1, length, 3), num_threads);
      CHECK(full.arena.num_floats == least.arena.num_floats, "arena differs by level");
      const ArenaLayout& arena = full.arena;
      bool rows_split = false;
      for (const Stage& stage : full.blocks[0].stages) rows_split = rows_split || stage.split == Split::kRows;
      using Region = std::pair<int64_t, int64_t>;
      const Region ids{arena.ids, 3 * arena.num_rows};
      const Region hidden{arena.hidden, arena.num_rows * arena.ld_hidden};
      const Region qkv{arena.qkv, kMiniLm.num_heads * arena.qkv_head_stride};
      const Region context{arena.context, arena.num_rows * arena.ld_hidden};
      const Region ffn{arena.ffn, arena.num_rows * arena.ld_ffn};
      std::vector<std::pair<Region, Region>> together = {
          {ids, hidden}, {hidden, qkv}, {hidden, context}, {qkv, context}, {hidden, ffn}};
      if (rows_split) together.insert(together.end(), {{qkv, ffn}, {context, ffn}});
      for (const auto& [a, b] : together) {
        CHECK(a.first + a.second <= b.first || b.first + b.second <= a.first, "regions overlap");
      }
      for (const Region& region : {ids, hidden, qkv, context, ffn}) {
        CHECK(region.first % 16 == 0, "region not at a cache line");
        CHECK(region.first + region.second <= arena.num_floats, "region past the end");
      }
      CHECK(arena.ld_hidden >= round_up(kMiniLm.hidden_size, 16) &&
                arena.ld_ffn >= round_up(kMiniLm.intermediate_size, 16),
            "rows too short for whole weight blocks");
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
  const Plan plan = make_plan(kMiniLm, structures, shape.view(), 4);
  const std::string text = plan.to_string(kMiniLm, structures);
  for (const char* part :
       {"block 0", "qkv_proj", "M=16 N=1152 K=384", "M=4 N=768 K=384", "skipped", "panels, 4 chunks"}) {
    CHECK(text.find(part) != std::string::npos, std::string("missing \"") + part + "\" in:\n" + text);
  }
}

}  // namespace
}  // namespace elasticlm
