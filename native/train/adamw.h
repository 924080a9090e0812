// AdamW (Loshchilov & Hutter, decoupled weight decay) over one flat run, after clipping by the global norm.
#pragma once

#include <cstdint>

#include "train/parameters.h"
#include "train/train_batch.h"

namespace elasticlm {

struct AdamWOptions {
  double learning_rate = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;
  double clip_norm = 1.0;  // gradients of a larger global norm are scaled down to it; 0: no clipping
};

struct Moments {
  ParameterSet first;
  ParameterSet second;
  int64_t step = 0;  // updates done
};

// One update of all tensors that have, or ever had, a gradient; clears the gradients. Returns the global norm
// before clipping, summed in f64 in an order that does not depend on the threads. Where it is not finite
// nothing changes (the gradients are kept) and it is returned as it is: the caller decides. Throws
// kCallAborted before anything has changed.
double adamw_update(const AdamWOptions& options, ParameterSet& parameters, ParameterSet& gradients,
                    Moments& moments, const TrainThreads& threads);

}  // namespace elasticlm
