// The addon's Index: vectors, and the threads that search them.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>
#include <vector>

#include "addon/environment.h"
#include "search/vector_index.h"

namespace elasticlm {

class IndexObject : public Napi::ObjectWrap<IndexObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit IndexObject(const Napi::CallbackInfo& info);
  ~IndexObject() override;

 private:
  // Shared with the calls in flight, which outlive a collected object.
  struct State {
    Isa isa = Isa::kRef;
    std::vector<std::vector<float>>
        appended;                      // what `build` makes an index of; joined there, not on the event loop
    std::optional<VectorIndex> index;  // set by open or build, emptied by close

    void release() {
      appended.clear();
      index.reset();
    }
  };

  Napi::Value open(const Napi::CallbackInfo& info);
  void append(const Napi::CallbackInfo& info);
  Napi::Value build(const Napi::CallbackInfo& info);
  Napi::Value dims(const Napi::CallbackInfo& info);
  Napi::Value count(const Napi::CallbackInfo& info);
  Napi::Value precision(const Napi::CallbackInfo& info);
  Napi::Value bytes(const Napi::CallbackInfo& info);
  Napi::Value search(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  const VectorIndex& index() const;

  std::shared_ptr<State> state_;
  std::shared_ptr<Executor> executor_;
};

}  // namespace elasticlm
