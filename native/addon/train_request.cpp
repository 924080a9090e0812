#include "addon/train_request.h"

#include <string>

#include "addon/failure.h"

namespace elasticlm {
namespace {

double to_number(const Napi::Value& value, const std::string& subject) {
  if (!value.IsNumber()) fail_contract(subject, "a number");
  return value.As<Napi::Number>().DoubleValue();
}

// Fields of one term of the objective; what is absent keeps its default.
class TermReader {
 public:
  TermReader(const Napi::Object& objective, const char* name) : name_(name) {
    const Napi::Value term = objective[name];
    if (!term.IsUndefined()) term_ = to_object(term, name);
  }

  void number(const char* field, double& value) const {
    if (!has(field)) return;
    value = to_number(term_[field], name_ + "." + field);
  }
  void count(const char* field, int64_t& value) const {
    if (!has(field)) return;
    value = to_count(term_[field], (name_ + "." + field).c_str());
  }

 private:
  bool has(const char* field) const {
    return !term_.IsEmpty() && !static_cast<Napi::Value>(term_[field]).IsUndefined();
  }

  std::string name_;
  Napi::Object term_;  // empty where the term is absent
};

Objective to_objective(const Napi::Object& spec) {
  Objective objective;
  const Napi::Value pooling = spec["pooling"];
  if (!pooling.IsUndefined()) objective.pooling = to_pooling(pooling);

  const TermReader embedding(spec, "embedding");
  embedding.number("cosineWeight", objective.embedding.cosine_weight);
  embedding.number("mseWeight", objective.embedding.mse_weight);
  embedding.number("similarityWeight", objective.embedding.similarity_weight);
  embedding.number("temperature", objective.embedding.temperature);

  const TermReader contrastive(spec, "contrastive");
  contrastive.number("weight", objective.contrastive.weight);
  contrastive.number("temperature", objective.contrastive.temperature);

  TermReader(spec, "classification").number("weight", objective.classification.weight);
  TermReader(spec, "regression").number("weight", objective.regression.weight);

  const TermReader logits(spec, "logits");
  logits.number("weight", objective.logits.weight);
  logits.number("temperature", objective.logits.temperature);

  const TermReader ranking(spec, "ranking");
  ranking.number("labelWeight", objective.ranking.label_weight);
  ranking.number("teacherWeight", objective.ranking.teacher_weight);
  ranking.number("temperature", objective.ranking.temperature);

  TermReader(spec, "hidden").number("weight", objective.hidden.weight);

  const TermReader relation(spec, "relation");
  relation.number("weight", objective.relation.weight);
  relation.count("numRelationHeads", objective.relation.num_relation_heads);

  TermReader(spec, "mlm").number("weight", objective.mlm.weight);
  return objective;
}

std::vector<int32_t> to_optional_int32s(const Napi::Value& value, const char* subject) {
  return value.IsUndefined() ? std::vector<int32_t>() : to_int32s(value, subject);
}

std::vector<float> to_optional_floats(const Napi::Value& value, const char* subject) {
  return value.IsUndefined() ? std::vector<float>() : to_floats(value, subject);
}

StepMode to_step_mode(const Napi::Value& value) {
  const std::string name = to_string(value, "mode");
  if (name == "traverse") return StepMode::kTraverse;
  if (name == "mixed") return StepMode::kMixed;
  fail_contract("mode", "traverse or mixed");
}

HeadShapes to_head_shapes(const Napi::Object& heads) {
  return {.pooler = to_bool(heads["pooler"], "heads.pooler"),
          .num_labels = to_count(heads["numLabels"], "heads.numLabels"),
          .relation = to_bool(heads["relation"], "heads.relation"),
          .mlm = to_bool(heads["mlm"], "heads.mlm"),
          .num_adapters = to_count(heads["numAdapters"], "heads.numAdapters")};
}

}  // namespace

TrainRequest::TrainRequest(const Napi::Object& spec)
    : ids_(to_packed_ids(spec)),
      labels_(to_optional_int32s(spec["labels"], "labels")),
      targets_(to_optional_floats(spec["targets"], "targets")),
      cu_lists_(to_optional_int32s(spec["cuLists"], "cuLists")),
      relevance_(to_optional_floats(spec["relevance"], "relevance")),
      mlm_labels_(to_optional_int32s(spec["mlmLabels"], "mlmLabels")),
      objective_(to_objective(to_object(spec["objective"], "objective"))) {
  objective_.classification.labels = labels_;
  objective_.regression.targets = targets_;
  objective_.ranking.cu_lists = cu_lists_;
  objective_.ranking.labels = relevance_;
  objective_.mlm.labels = mlm_labels_;
  const Napi::Value num_queries = spec["numQueries"];
  if (!num_queries.IsUndefined()) objective_.contrastive.num_queries = to_count(num_queries, "numQueries");
}

StepRequest::StepRequest(const Napi::Object& spec)
    : data(spec),
      structure_idx(to_int32s(spec["structureIdx"], "structureIdx")),
      weights(to_doubles(spec["weights"], "weights")),
      num_sequences(to_optional_int32s(spec["numSequences"], "numSequences")),
      mode(to_step_mode(spec["mode"])),
      losses(to_double_output(spec["losses"], "losses")) {
  if (losses.size != std::ssize(structure_idx) * kNumLosses) {
    fail_contract("losses", "ten numbers for each SubLM");
  }
}

void copy_losses(const std::vector<Losses>& losses, double* out) {
  for (const Losses& of : losses) {
    for (const double value : {of.total, of.embedding, of.contrastive, of.classification, of.regression,
                               of.logits, of.ranking, of.hidden, of.relation, of.mlm}) {
      *out++ = value;
    }
  }
}

SessionSpec to_session_spec(const Napi::Object& spec) {
  SessionSpec session;
  session.config = to_config(spec["config"]);
  session.paths = to_strings(spec["paths"], "paths");
  session.heads = to_head_shapes(to_object(spec["heads"], "heads"));
  session.seed = static_cast<uint64_t>(to_count(spec["seed"], "seed"));
  session.structures = to_structures(spec["structures"], session.config);
  session.adapter_idx = to_int32s(spec["adapterIdx"], "adapterIdx");
  session.teacher_paths = to_strings(spec["teacherPaths"], "teacherPaths");
  session.isa = choose_isa(to_string(spec["isa"], "isa"));
  session.precision = to_precision(spec["precision"]);
  session.saving = to_bool(spec["recompute"], "recompute") ? Saving::kRecompute : Saving::kAll;
  return session;
}

AdamWOptions to_adamw_options(const Napi::Object& spec) {
  return {.learning_rate = to_number(spec["learningRate"], "learningRate"),
          .beta1 = to_number(spec["beta1"], "beta1"),
          .beta2 = to_number(spec["beta2"], "beta2"),
          .epsilon = to_number(spec["epsilon"], "epsilon"),
          .weight_decay = to_number(spec["weightDecay"], "weightDecay"),
          .clip_norm = to_number(spec["clipNorm"], "clipNorm")};
}

StoredDtype to_stored_dtype(const Napi::Value& value) {
  const std::string name = to_string(value, "dtype");
  if (name == "f32") return StoredDtype::kF32;
  if (name == "f16") return StoredDtype::kF16;
  fail_contract("dtype", "f32 or f16");
}

}  // namespace elasticlm
