// Functions of the addon that work on checkpoint files and belong to no model.
#pragma once

#include <napi.h>

namespace elasticlm {

Napi::Value write_permuted_checkpoint_async(const Napi::CallbackInfo& info);
Napi::Value outgoing_norms_async(const Napi::CallbackInfo& info);

}  // namespace elasticlm
