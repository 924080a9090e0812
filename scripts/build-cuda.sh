#!/bin/sh
# Builds the library that runs models on a GPU: build-cuda.sh [TARGET]... makes build-cuda/elasticlm_cuda.so for every
# supported GPU with nvcc of CUDA 12.8 or newer; no GPU is needed. CUDA_ARCHITECTURES="90" compiles for those compute
# capabilities alone. With --emulated, build-emulated/elasticlm_cuda_emulated.so: the emulator in the GPU's place, no nvcc.
set -eu
cd "$(dirname "$0")/.."
build=build-cuda
cuda=ON
library=elasticlm_cuda
if [ "${1:-}" = --emulated ]; then
  shift
  build=build-emulated
  cuda=OFF
  library=elasticlm_cuda_emulated
fi
[ $# -gt 0 ] || set -- $library
cmake -S . -B $build -DELASTICLM_CUDA=$cuda -UCUDA_ARCHITECTURES ${CUDA_ARCHITECTURES:+-DCUDA_ARCHITECTURES="$CUDA_ARCHITECTURES"}
cmake --build $build --parallel "$(getconf _NPROCESSORS_ONLN)" --target "$@"
