// All trained numbers of a model in one flat run of f32, so that an optimiser, a norm, a comparison or a file
// needs one loop. Gradients and moments are runs of the same layout.
//
// Linear weights are stored with what a SubLM keeps as rows: a SubLM is a prefix of the rows of each, every
// row has E columns, and every gradient of weights is one product over the batch
// (kernels/training_operand.h).
//
//   qkv         [H * 3 * D, E]  per head D rows of query, key and value
//   attn_out_t  [H * D, E]      transposed: row = context column, column = output
//   ffn_up      [F, E]
//   ffn_down_t  [F, E]          transposed: row = neuron, column = output
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/aligned_buffer.h"
#include "model/config.h"
#include "model/safetensors.h"

namespace elasticlm {

// Where one tensor lies in the flat run.
struct ParameterSlot {
  std::string name;  // as in ParameterLayout's own terms, e.g. "layer.0.ffn_up"; for messages and state files
  int64_t rows = 0;  // 1 for vectors
  int64_t columns = 0;
  int64_t offset = 0;   // floats; a multiple of 16
  bool decays = false;  // weight decay applies: matrices but no LayerNorm, no bias (BERT's own habit;
                        // embeddings decay too)

  int64_t size() const { return rows * columns; }
};

struct LayerNormSlots {
  ParameterSlot gamma;  // [E]
  ParameterSlot beta;   // [E]
};

struct LayerSlots {
  ParameterSlot qkv;            // [H * 3 * D, E]
  ParameterSlot qkv_bias;       // [H * 3 * D]
  ParameterSlot attn_out_t;     // [H * D, E]
  ParameterSlot attn_out_bias;  // [E]
  LayerNormSlots attn_layer_norm;
  ParameterSlot ffn_up;         // [F, E]
  ParameterSlot ffn_up_bias;    // [F]
  ParameterSlot ffn_down_t;     // [F, E]
  ParameterSlot ffn_down_bias;  // [E]
  LayerNormSlots ffn_layer_norm;
};

// Which heads a model has above its encoder. A slot of a head that is not there has size 0.
struct HeadShapes {
  bool pooler = false;
  int64_t num_labels = 0;  // rows of the classifier; 0: none
  bool relation =
      false;  // the student's extra projection [3 E, E] for relation alignment; never written to a checkpoint
  bool mlm = false;  // cls.predictions: transform, LayerNorm and bias; its decoder is the word embeddings
  int64_t num_adapters = 0;  // linear layers that SubLMs have to themselves, over the pooled vector
};

// Output x + W x + b instead of the pooled vector x: what weights that all SubLMs share cannot say for one of
// them.
struct AdapterSlots {
  ParameterSlot weight;  // W [E, E] row = output, as stored
  ParameterSlot bias;    // [E]
};

struct HeadSlots {
  ParameterSlot pooler;       // [E, E] row = output, as stored
  ParameterSlot pooler_bias;  // [E]
  ParameterSlot classifier;   // [num_labels, E]
  ParameterSlot classifier_bias;
  ParameterSlot relation;       // [3 * E, E] query, key, value
  ParameterSlot relation_bias;  // [3 * E]
  ParameterSlot mlm_transform;  // [E, E]
  ParameterSlot mlm_transform_bias;
  LayerNormSlots mlm_layer_norm;
  ParameterSlot mlm_bias;  // [V]
  std::vector<AdapterSlots> adapters;
};

struct ParameterLayout {
  EncoderConfig config;
  HeadShapes heads;
  ParameterSlot word_embeddings;        // [V, E]
  ParameterSlot position_embeddings;    // [max_position_embeddings, E]
  ParameterSlot token_type_embeddings;  // [type_vocab_size, E]
  LayerNormSlots embedding_layer_norm;
  std::vector<LayerSlots> layers;
  HeadSlots head;
  int64_t num_floats = 0;

  ParameterLayout(const EncoderConfig& config, const HeadShapes& heads);
  std::vector<const ParameterSlot*> slots() const;  // all with size() > 0, by rising offset
};

// One flat run: parameters, or gradients or moments of them. Zero at first.
class ParameterSet {
 public:
  explicit ParameterSet(std::shared_ptr<const ParameterLayout> layout);

  const ParameterLayout& layout() const { return *layout_; }
  const std::shared_ptr<const ParameterLayout>& shared_layout() const { return layout_; }
  float* at(const ParameterSlot& slot) { return values_.data() + slot.offset; }
  const float* at(const ParameterSlot& slot) const { return values_.data() + slot.offset; }
  std::span<float> values() { return {values_.data(), values_.size()}; }
  std::span<const float> values() const { return {values_.data(), values_.size()}; }
  void clear();

 private:
  std::shared_ptr<const ParameterLayout> layout_;
  AlignedBuffer values_;
};

// What heads a checkpoint has (pooler, classifier, mlm, adapters; never relation).
HeadShapes heads_of(const EncoderConfig& config, const Checkpoint& checkpoint);

// Fills encoder and heads from a checkpoint; every tensor must be finite. A classifier that the checkpoint
// lacks, or has for another number of labels, is the teacher's together with the pooler below it, where the
// teacher (may be null) has one of that number. Any other head of the layout that is lacking is drawn:
// weights normal with deviation 0.02 from `seed`, biases 0, LayerNorm 1 and 0; an adapter is 0, and its
// output the pooled vector. Throws what Checkpoint throws.
void read_parameters(const Checkpoint& checkpoint, const Checkpoint* teacher, uint64_t seed,
                     ParameterSet& parameters);

enum class StoredDtype { kF32, kF16 };

// Writes encoder, pooler, classifier and mlm head under the names that Hugging Face uses (BertModel's, with
// "bert." before them where there is a classifier or an mlm head), and adapters under our own
// (model/tensor_names.h), beside `path` and renamed into place.
// Throws kFileUnwritable (disk full included).
void write_parameters(const ParameterSet& parameters, StoredDtype dtype, const std::string& path);

}  // namespace elasticlm
