# The device backend, twice from the same sources: by the C++ compiler with the emulator in the GPU's place (always), and by
# nvcc (ELASTICLM_CUDA). Each way makes one shared library that exports elasticlm_cuda_api and nothing else, a program
# cuda_NAME_test for each native/test/cuda/NAME_test.cpp and a program gpu_NAME_bench for each bench/gpu/NAME_bench.cpp; those
# that need a GPU end in _gpu.
file(GLOB device_kernels CONFIGURE_DEPENDS native/kernels/cuda/*.cu)
file(GLOB device_sources CONFIGURE_DEPENDS native/kernels/cuda/*.cpp native/exec/cuda/*.cpp)
file(GLOB device_entry CONFIGURE_DEPENDS native/cuda/*.cpp)
# Programs, but for what has a header: that is shared.
file(GLOB device_tests CONFIGURE_DEPENDS native/test/cuda/*.cpp)
set(device_test_support)
foreach(source IN LISTS device_tests)
  string(REGEX REPLACE "\\.cpp$" ".h" header ${source})
  if(EXISTS ${header})
    list(APPEND device_test_support ${source})
  endif()
endforeach()
list(REMOVE_ITEM device_tests ${device_test_support})
# Kernels that only tests start.
file(GLOB device_test_kernels CONFIGURE_DEPENDS native/test/cuda/*.cu)
file(GLOB device_benches CONFIGURE_DEPENDS bench/gpu/*_bench.cpp)

# `device` is the static library of one way; its interface brings the include folders and definitions.
function(add_device_library name device)
  add_library(${name} SHARED ${device_entry})
  set_target_properties(${name} PROPERTIES PREFIX "" LINK_DEPENDS ${CMAKE_SOURCE_DIR}/native/cuda/library.map)
  target_link_libraries(${name} PRIVATE ${device})
  if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    target_link_options(${name} PRIVATE -Wl,--gc-sections -Wl,-z,defs -Wl,--version-script=${CMAKE_SOURCE_DIR}/native/cuda/library.map)
    if(NOT ELASTICLM_SANITIZE)
      target_link_options(${name} PRIVATE -static-libstdc++ -static-libgcc -s)
    endif()
  endif()
endfunction()

# Of scripts/test-native.sh's options all but detect_stack_use_after_return: it gives every fiber of the emulator stacks of its
# own from the system, which takes five times as long as the tests.
set(device_test_environment)
if(ELASTICLM_SANITIZE)
  set(device_test_environment
      ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=0)
endif()

# `kernels` are the test kernels: sources or objects.
function(add_device_programs suffix device kernels)
  set(support device_test_support${suffix})
  add_library(${support} STATIC ${device_test_support} ${kernels})
  target_link_libraries(${support} PUBLIC test_harness ${device})
  foreach(source IN LISTS device_tests)
    get_filename_component(name ${source} NAME_WE)
    set(program cuda_${name}${suffix})
    add_executable(${program} ${source})
    target_link_libraries(${program} PRIVATE ${support})
    add_test(NAME ${program} COMMAND ${program})
    set_tests_properties(${program} PROPERTIES LABELS cuda${suffix} ENVIRONMENT "${device_test_environment}")
  endforeach()
  foreach(source IN LISTS device_benches)
    get_filename_component(name ${source} NAME_WE)
    set(program gpu_${name}${suffix})
    add_executable(${program} ${source})
    target_link_libraries(${program} PRIVATE ${support})
    add_test(NAME ${program} COMMAND ${program} --smoke)
    set_tests_properties(${program} PROPERTIES LABELS cuda${suffix} ENVIRONMENT "${device_test_environment}")
  endforeach()
endfunction()

# --- emulated --------------------------------------------------------------------------------------------------------

file(GLOB_RECURSE emulator_sources CONFIGURE_DEPENDS native/emulator/*.cpp)
set_source_files_properties(${device_kernels} ${device_test_kernels} PROPERTIES LANGUAGE CXX)
add_library(device_emulated STATIC ${device_kernels} ${device_sources} ${emulator_sources})
target_compile_definitions(device_emulated PUBLIC ELASTICLM_EMULATED)
target_include_directories(device_emulated SYSTEM PUBLIC native/emulator/include)
# `#pragma unroll` is nvcc's; nothing here is linked with code of another compiler.
target_compile_options(device_emulated PUBLIC -Wno-unknown-pragmas -Wno-psabi)
target_link_libraries(device_emulated PUBLIC elasticlm_core)
add_device_library(elasticlm_cuda_emulated device_emulated)
add_device_programs("" device_emulated "${device_test_kernels}")

# --- nvcc ------------------------------------------------------------------------------------------------------------

set(ELASTICLM_CUDA AUTO CACHE STRING "Build for GPUs with nvcc: ON, OFF, or AUTO, which does when there is one")
set(CUDA_ARCHITECTURES 80 86 89 90 100 120 CACHE STRING
    "Compute capabilities to compile for, in rising order; the last also as PTX. WGMMA is always for 90a")
if(ELASTICLM_CUDA STREQUAL "OFF")
  return()
endif()
find_package(CUDAToolkit 12.8 QUIET)
if(NOT CUDAToolkit_NVCC_EXECUTABLE OR NOT TARGET CUDA::cudart_static)
  if(ELASTICLM_CUDA STREQUAL "AUTO")
    message(STATUS "No CUDA toolkit of 12.8 or newer: without elasticlm_cuda")
    return()
  endif()
  message(FATAL_ERROR "ELASTICLM_CUDA=ON needs nvcc of CUDA 12.8 or newer on PATH, with libcudart_static.a and headers")
endif()

# nvcc is called by hand: CMake before 3.26 does not know C++20 for it, and one file is for another target than the rest.
list(GET CUDA_ARCHITECTURES -1 newest)
set(portable_targets -gencode=arch=compute_${newest},code=compute_${newest})
foreach(architecture IN LISTS CUDA_ARCHITECTURES)
  list(APPEND portable_targets -gencode=arch=compute_${architecture},code=sm_${architecture})
endforeach()
set(wgmma_targets -gencode=arch=compute_90a,code=sm_90a)
option(CUDA_LINE_INFO "Keep source lines in the kernels, for compute-sanitizer and ncu" OFF)
set(nvcc_flags -std=c++20 -O3 -DNDEBUG $<$<BOOL:${CUDA_LINE_INFO}>:-lineinfo> -I${CMAKE_SOURCE_DIR}/native -ccbin ${CMAKE_CXX_COMPILER}
    --compress-mode=size -Werror=all-warnings -Xptxas=-v
    -Xcompiler=-fPIC,-fvisibility=hidden,-fvisibility-inlines-hidden,-ffunction-sections,-fdata-sections)

function(add_nvcc_objects objects)
  set(all)
  foreach(source IN LISTS ARGN)
    get_filename_component(name ${source} NAME_WE)
    set(object ${CMAKE_BINARY_DIR}/nvcc/${name}.o)
    if(name MATCHES "_wgmma$")
      set(targets ${wgmma_targets})
    else()
      set(targets ${portable_targets})
    endif()
    add_custom_command(
      OUTPUT ${object}
      COMMAND sh ${CMAKE_SOURCE_DIR}/scripts/nvcc-log.sh ${object}.log
              ${CMAKE_CXX_COMPILER_LAUNCHER} ${CUDAToolkit_NVCC_EXECUTABLE} ${nvcc_flags} ${targets}
              -MD -MF ${object}.d -c ${source} -o ${object}
      DEPENDS ${source}
      DEPFILE ${object}.d
      COMMENT "nvcc ${name}"
      COMMAND_EXPAND_LISTS VERBATIM)
    list(APPEND all ${object})
  endforeach()
  set_source_files_properties(${all} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  set(${objects} ${all} PARENT_SCOPE)
endfunction()
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/nvcc)
add_nvcc_objects(kernel_objects ${device_kernels})
add_nvcc_objects(test_kernel_objects ${device_test_kernels})
# What compiles the kernels alone.
add_custom_target(cuda_kernels DEPENDS ${kernel_objects})

add_library(device_cuda STATIC ${device_sources} ${kernel_objects})
add_dependencies(device_cuda cuda_kernels)
target_link_libraries(device_cuda PUBLIC elasticlm_core CUDA::cudart_static)
add_device_library(elasticlm_cuda device_cuda)
add_device_programs(_gpu device_cuda "${test_kernel_objects}")
