#include "addon/checkpoint_tools.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "addon/convert.h"
#include "addon/environment.h"

namespace elasticlm {

Napi::Value write_permuted_checkpoint_async(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto work = [config = to_config(info[0]), paths = to_strings(info[1], "paths"),
                       permutation = to_permutation(info[2]), output = to_string(info[3], "output")](
                          const Job&) { write_permuted_checkpoint(config, paths, permutation, output); };
    Environment& environment = Environment::of(info.Env());
    return environment.start(environment.tools(), work);
  });
}

Napi::Value outgoing_norms_async(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const OutputArray<double> heads = to_double_output(info[2], "heads");
    const OutputArray<double> neurons = to_double_output(info[3], "neurons");
    const auto work = [config = to_config(info[0]), paths = to_strings(info[1], "paths"), heads,
                       neurons](const Job&) {
      const OutgoingNorms norms = outgoing_norms(config, paths);
      if (std::ssize(norms.heads) != heads.size || std::ssize(norms.neurons) != neurons.size) {
        fail_contract("heads and neurons", "[L * H] and [L * F] numbers");
      }
      std::copy(norms.heads.begin(), norms.heads.end(), heads.data);
      std::copy(norms.neurons.begin(), norms.neurons.end(), neurons.data);
    };
    Napi::Array outputs = Napi::Array::New(info.Env(), 2);
    outputs[0u] = info[2];
    outputs[1u] = info[3];
    Environment& environment = Environment::of(info.Env());
    return environment.start(environment.tools(), work, outputs);
  });
}

}  // namespace elasticlm
