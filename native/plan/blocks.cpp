#include "plan/blocks.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>

namespace elasticlm {
namespace {

// At 128 rows the hidden states, a head's q | k | v and an FFN panel of MiniLM stay within a 1 MB L2 cache,
// and the weights' way from L3 is paid once per 128 rows: block by block was 3-6% faster than layer by layer
// (2-core Zen 5, 2026-11-22).
constexpr int64_t kBlockRows = 128;
// With several threads, blocks shrink down to this before a block is split instead: half of kBlockRows still
// reads each weight for 8 register tiles of rows.
constexpr int64_t kMinBlockRows = 64;
// A pass over the weights for so few rows is bound by reading them: 8 rows cost what 1 row costs. Such a
// group shares a pass with other structures (0.43-0.77 of separate passes up to 4 rows per level, even at 8;
// 2-core Zen 5, 2026-11-22), and a remainder of this size joins a full block.
constexpr int64_t kTinyRows = 8;
// A block of 128 rows split between two threads took 1.14 times the processor time of one thread, 8 whole
// blocks 1.04 times (MiniLM, AVX-512, 2-core Zen 4, 2026-11-23): splitting keeps 0.9 of what whole blocks
// reach.
constexpr double kSplitEfficiency = 0.9;

struct Sequence {
  int32_t position = 0;  // in the batch
  int64_t num_rows = 0;
};

// Sequences of one structure.
struct Group {
  int32_t structure_idx = 0;
  int64_t num_rows = 0;
  std::vector<Sequence> sequences;
};

struct Bin {
  int64_t num_rows = 0;
  std::vector<Sequence> sequences;

  void add(const Sequence& sequence) {
    num_rows += sequence.num_rows;
    sequences.push_back(sequence);
  }
};

std::vector<Group> group_by_structure(std::span<const StructureCost> costs, const BatchShape& shape) {
  std::vector<Group> groups(costs.size());
  for (size_t i = 0; i < groups.size(); ++i) groups[i].structure_idx = static_cast<int32_t>(i);
  for (size_t i = 0; i < shape.structure_idx.size(); ++i) {
    Group& group = groups[static_cast<size_t>(shape.structure_idx[i])];
    const int64_t num_rows = shape.cu_seqlens[i + 1] - shape.cu_seqlens[i];
    group.sequences.push_back({static_cast<int32_t>(i), num_rows});
    group.num_rows += num_rows;
  }
  std::erase_if(groups, [](const Group& group) { return group.sequences.empty(); });
  std::stable_sort(groups.begin(), groups.end(), [&](const Group& a, const Group& b) {
    return costs[static_cast<size_t>(a.structure_idx)].flops_per_row >
           costs[static_cast<size_t>(b.structure_idx)].flops_per_row;
  });
  for (Group& group : groups) {
    std::stable_sort(group.sequences.begin(), group.sequences.end(),
                     [](const Sequence& a, const Sequence& b) { return a.num_rows > b.num_rows; });
  }
  return groups;
}

// As few bins as first fit finds, longest sequence first. A sequence longer than `capacity` gets a bin of its
// own.
std::vector<Bin> first_fit(const std::vector<Sequence>& sequences, int64_t capacity) {
  std::vector<Bin> bins;
  size_t first_open = 0;  // bins before it have no room for even one row
  for (const Sequence& sequence : sequences) {
    while (first_open < bins.size() && bins[first_open].num_rows >= capacity) ++first_open;
    auto bin = std::find_if(bins.begin() + static_cast<std::ptrdiff_t>(first_open), bins.end(),
                            [&](const Bin& b) { return b.num_rows + sequence.num_rows <= capacity; });
    if (bin == bins.end()) bin = bins.emplace(bins.end());
    bin->add(sequence);
  }
  return bins;
}

// The same number of bins, evened out: each sequence, longest first, to the emptiest bin.
std::vector<Bin> level_bins(const std::vector<Sequence>& sequences, size_t num_bins) {
  std::vector<Bin> bins(num_bins);
  using Load = std::pair<int64_t, size_t>;  // rows, bin
  std::priority_queue<Load, std::vector<Load>, std::greater<>> loads;
  for (size_t i = 0; i < num_bins; ++i) loads.push({0, i});
  for (const Sequence& sequence : sequences) {
    Bin& bin = bins[loads.top().second];
    const size_t position = loads.top().second;
    loads.pop();
    bin.add(sequence);
    loads.push({bin.num_rows, position});
  }
  return bins;
}

int64_t largest(const std::vector<Bin>& bins) {
  int64_t rows = 0;
  for (const Bin& bin : bins) rows = std::max(rows, bin.num_rows);
  return rows;
}

std::vector<Bin> pack(const std::vector<Sequence>& sequences, int64_t capacity) {
  std::vector<Bin> tight = first_fit(sequences, capacity);
  std::vector<Bin> level = level_bins(sequences, tight.size());
  return largest(level) <= std::max(capacity, largest(tight)) ? level : tight;
}

void append_segment(PlanBlock& block, int32_t structure_idx, const std::vector<Sequence>& sequences) {
  Segment segment;
  segment.row_begin = block.num_rows;
  segment.structure_idx = structure_idx;
  segment.sequences.reserve(sequences.size());
  for (const Sequence& sequence : sequences) {
    segment.num_rows += sequence.num_rows;
    segment.sequences.push_back(sequence.position);
  }
  block.num_rows += segment.num_rows;
  block.segments.push_back(std::move(segment));
}

// Puts the segments of both blocks into one, keeping them in falling order of cost.
void merge(PlanBlock& into, PlanBlock&& from, std::span<const StructureCost> costs) {
  std::move(from.segments.begin(), from.segments.end(), std::back_inserter(into.segments));
  std::stable_sort(into.segments.begin(), into.segments.end(), [&](const Segment& a, const Segment& b) {
    return costs[static_cast<size_t>(a.structure_idx)].flops_per_row >
           costs[static_cast<size_t>(b.structure_idx)].flops_per_row;
  });
  into.num_rows = 0;
  for (Segment& segment : into.segments) {
    segment.row_begin = into.num_rows;
    into.num_rows += segment.num_rows;
  }
}

std::vector<PlanBlock> cut(std::span<const StructureCost> costs, const BatchShape& shape, int num_threads) {
  const int64_t total_rows = shape.cu_seqlens.back();
  const int64_t rows_per_thread = (total_rows + num_threads - 1) / num_threads;
  const int64_t target =
      std::clamp((rows_per_thread + kTileRows - 1) / kTileRows * kTileRows, kMinBlockRows, kBlockRows);

  std::vector<PlanBlock> blocks;
  std::vector<PlanBlock> staircases;
  for (const Group& group : group_by_structure(costs, shape)) {
    if (group.num_rows <= kTinyRows) {
      if (staircases.empty() || staircases.back().num_rows + group.num_rows > target)
        staircases.emplace_back();
      append_segment(staircases.back(), group.structure_idx, group.sequences);
      continue;
    }
    for (const Bin& bin : pack(group.sequences, target + kTinyRows)) {
      append_segment(blocks.emplace_back(), group.structure_idx, bin.sequences);
    }
  }
  for (PlanBlock& staircase : staircases) {
    const auto smallest =
        std::min_element(blocks.begin(), blocks.end(),
                         [](const PlanBlock& a, const PlanBlock& b) { return a.num_rows < b.num_rows; });
    const bool joins = staircase.num_rows <= kTinyRows && smallest != blocks.end() &&
                       smallest->num_rows + staircase.num_rows <= target + kTinyRows;
    if (joins) {
      merge(*smallest, std::move(staircase), costs);
    } else {
      blocks.push_back(std::move(staircase));
    }
  }
  return blocks;
}

double block_cost(const PlanBlock& block, std::span<const StructureCost> costs, const BatchShape& shape) {
  double flops = 0;
  for (const Segment& segment : block.segments) {
    for (const int32_t i : segment.sequences) {
      const auto at = static_cast<size_t>(i);
      flops += costs[static_cast<size_t>(segment.structure_idx)].flops(shape.cu_seqlens[at + 1] -
                                                                       shape.cu_seqlens[at]);
    }
  }
  // Fewer rows than kTinyRows cost the reading of the weights.
  return flops * std::max(1.0, static_cast<double>(kTinyRows) / static_cast<double>(block.num_rows));
}

// Time until the last thread ends when each of `costs` (falling) goes to the thread that is free first.
double makespan(std::span<const double> costs, int num_threads) {
  std::priority_queue<double, std::vector<double>, std::greater<>> ends;
  for (int i = 0; i < num_threads; ++i) ends.push(0.0);
  double last = 0;
  for (const double cost : costs) {
    const double end = ends.top() + cost;
    ends.pop();
    ends.push(end);
    last = std::max(last, end);
  }
  return last;
}

// How many of the costliest blocks to split among the threads so that all end soonest.
size_t choose_num_split(std::span<const double> costs, int num_threads) {
  if (num_threads == 1) return 0;
  size_t best = 0;
  double best_time = makespan(costs, num_threads);
  double split_time = 0;
  // With more whole blocks than threads left over, splitting further ones gains nothing.
  const size_t limit = std::min(costs.size(), static_cast<size_t>(num_threads));
  for (size_t num_split = 1; num_split <= limit; ++num_split) {
    split_time += costs[num_split - 1] / (num_threads * kSplitEfficiency);
    const double time = split_time + makespan(costs.subspan(num_split), num_threads);
    if (time < best_time) {
      best = num_split;
      best_time = time;
    }
  }
  return best;
}

}  // namespace

std::vector<PlanBlock> make_blocks(std::span<const StructureCost> costs, const BatchShape& shape,
                                   int num_threads) {
  if (shape.structure_idx.empty()) return {};
  std::vector<PlanBlock> blocks = cut(costs, shape, num_threads);

  std::vector<std::pair<double, size_t>> order;
  for (size_t i = 0; i < blocks.size(); ++i) order.push_back({-block_cost(blocks[i], costs, shape), i});
  std::sort(order.begin(), order.end());
  std::vector<double> falling_costs;
  for (const auto& [negative_cost, position] : order) falling_costs.push_back(-negative_cost);
  const size_t num_split = choose_num_split(falling_costs, num_threads);

  std::vector<PlanBlock> ordered;
  ordered.reserve(blocks.size());
  for (size_t i = num_split; i < order.size(); ++i) ordered.push_back(std::move(blocks[order[i].second]));
  for (size_t i = 0; i < num_split; ++i) {
    ordered.push_back(std::move(blocks[order[i].second]));
    ordered.back().num_chunks = num_threads;
  }
  return ordered;
}

}  // namespace elasticlm
