#include "model/permutation.h"

#include <cmath>
#include <map>
#include <utility>

#include "core/status.h"
#include "model/float_tensor.h"
#include "model/output_file.h"
#include "model/safetensors.h"
#include "model/safetensors_writer.h"
#include "model/tensor_names.h"

namespace elasticlm {
namespace {

void check_order(size_t layer_idx, const char* part, const std::vector<int32_t>& order, int64_t size) {
  const auto refuse = [&](const std::string& received) {
    fail(ErrorCode::kStructureInvalid,
         {.expected = "each position from 0 to " + std::to_string(size - 1) + " once",
          .subject = std::string("the permutation of ") + part + " of layer " + std::to_string(layer_idx),
          .received = received,
          .remedy = ""});
  };
  if (static_cast<int64_t>(order.size()) != size) refuse(std::to_string(order.size()) + " positions");
  std::vector<bool> seen(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    const std::string received = std::to_string(order[i]) + " at place " + std::to_string(i);
    if (order[i] < 0 || order[i] >= size) refuse(received);
    if (seen[static_cast<size_t>(order[i])]) refuse(received + ", a second time");
    seen[static_cast<size_t>(order[i])] = true;
  }
}

// How one tensor's elements move: along one axis, in groups of `group` neighbours (a head's D, or one
// neuron).
struct Reorder {
  std::vector<int64_t> shape;  // what the tensor must be
  size_t axis = 0;
  int64_t group = 1;
  const std::vector<int32_t>* order = nullptr;
};

using Reorders = std::map<std::string, Reorder>;  // by name without the model's prefix

Reorders reorders_of(const EncoderConfig& config, const Permutation& permutation) {
  const int64_t E = config.hidden_size;
  const int64_t F = config.intermediate_size;
  const int64_t D = config.head_dim();
  Reorders all;
  for (int64_t l = 0; l < config.num_layers; ++l) {
    const LayerNames names(l);
    const std::vector<int32_t>* const heads = &permutation.heads[static_cast<size_t>(l)];
    const std::vector<int32_t>* const neurons = &permutation.neurons[static_cast<size_t>(l)];
    for (const std::string& name : {names.query, names.key, names.value}) {
      all[weight_of(name)] = {{E, E}, 0, D, heads};
      all[bias_of(name)] = {{E}, 0, D, heads};
    }
    all[weight_of(names.attn_out)] = {{E, E}, 1, D, heads};
    all[weight_of(names.ffn_up)] = {{F, E}, 0, 1, neurons};
    all[bias_of(names.ffn_up)] = {{F}, 0, 1, neurons};
    all[weight_of(names.ffn_down)] = {{E, F}, 1, 1, neurons};
  }
  return all;
}

void append_reordered(const TensorView& tensor, const Reorder& reorder, OutputFile& output) {
  // As [outer, groups, bytes of one group]: along axis 0 a group is whole rows, along axis 1 it is a part of
  // each row.
  const int64_t outer = reorder.axis == 0 ? 1 : tensor.shape[0];
  const int64_t element_bytes = dtype_bytes(tensor.dtype);
  const int64_t row_bytes = num_elements(tensor) / outer * element_bytes;
  const int64_t group_bytes = row_bytes / static_cast<int64_t>(reorder.order->size());
  for (int64_t o = 0; o < outer; ++o) {
    for (const int32_t from : *reorder.order) {
      output.append(tensor.data + o * row_bytes + from * group_bytes, static_cast<size_t>(group_bytes));
    }
  }
}

std::string without_prefix(const std::string& name) {
  return name.compare(0, kModelPrefix.size(), kModelPrefix) == 0 ? name.substr(kModelPrefix.size()) : name;
}

// One shard's value wins over those of the shards listed after it.
std::map<std::string, std::string> joined_metadata(const Checkpoint& checkpoint) {
  std::map<std::string, std::string> joined;
  for (const SafetensorsFile& file : checkpoint.files())
    joined.insert(file.metadata().begin(), file.metadata().end());
  return joined;
}

// The norms of groups of `group` neighbouring columns of W [N, K], appended to `norms`.
void append_column_norms(const TensorView& weight, int64_t group, std::vector<double>& norms) {
  const int64_t N = weight.shape[0];
  const int64_t K = weight.shape[1];
  std::vector<float> row(static_cast<size_t>(K));
  std::vector<double> squares(static_cast<size_t>(K / group));
  for (int64_t n = 0; n < N; ++n) {
    widen(weight.data + n * K * dtype_bytes(weight.dtype), weight.dtype, K, row.data());
    for (size_t k = 0; k < row.size(); ++k) {
      squares[k / static_cast<size_t>(group)] += static_cast<double>(row[k]) * row[k];
    }
  }
  for (const double square : squares) norms.push_back(std::sqrt(square));
}

}  // namespace

void validate(const Permutation& permutation, const EncoderConfig& config) {
  const size_t num_layers = static_cast<size_t>(config.num_layers);
  for (const auto& [part, lists] :
       {std::pair("heads", &permutation.heads), std::pair("neurons", &permutation.neurons)}) {
    if (lists->size() == num_layers) continue;
    fail(ErrorCode::kStructureInvalid, {.expected = std::to_string(num_layers) + " layers",
                                        .subject = std::string("the permutation of ") + part,
                                        .received = std::to_string(lists->size()),
                                        .remedy = ""});
  }
  for (size_t l = 0; l < num_layers; ++l) {
    check_order(l, "heads", permutation.heads[l], config.num_heads);
    check_order(l, "neurons", permutation.neurons[l], config.intermediate_size);
  }
}

void write_permuted_checkpoint(const EncoderConfig& config, const std::vector<std::string>& paths,
                               const Permutation& permutation, const std::string& output) {
  validate(config);
  validate(permutation, config);
  const Checkpoint checkpoint(paths);
  const Reorders reorders = reorders_of(config, permutation);
  for (const auto& [name, reorder] : reorders) checkpoint.tensor(name, reorder.shape);

  const SafetensorsLayout layout = lay_out_safetensors(checkpoint, joined_metadata(checkpoint));
  OutputFile file(output);
  file.append(layout.header.data(), layout.header.size());
  for (const StoredTensor& stored : layout.tensors) {
    const auto reorder = reorders.find(without_prefix(*stored.name));
    if (reorder == reorders.end()) {
      file.append(stored.file->data(*stored.entry), stored.entry->end - stored.entry->begin);
    } else {
      append_reordered(checkpoint.tensor(reorder->first, reorder->second.shape), reorder->second, file);
    }
  }
  file.commit();
}

OutgoingNorms outgoing_norms(const EncoderConfig& config, const std::vector<std::string>& paths) {
  validate(config);
  const Checkpoint checkpoint(paths);
  const int64_t E = config.hidden_size;
  OutgoingNorms norms;
  for (int64_t l = 0; l < config.num_layers; ++l) {
    const LayerNames names(l);
    const TensorView attn_out = checkpoint.tensor(weight_of(names.attn_out), {E, E});
    const TensorView ffn_down = checkpoint.tensor(weight_of(names.ffn_down), {E, config.intermediate_size});
    require_finite(attn_out, weight_of(names.attn_out));
    require_finite(ffn_down, weight_of(names.ffn_down));
    append_column_norms(attn_out, config.head_dim(), norms.heads);
    append_column_norms(ffn_down, 1, norms.neurons);
  }
  return norms;
}

}  // namespace elasticlm
