# The CUDA language, for compute capability 9.0 with its own instructions (wgmma among them): hence 90a.
set(CMAKE_CUDA_ARCHITECTURES OFF)
enable_language(CUDA)
find_package(CUDAToolkit 12.4 REQUIRED)

add_library(bamba_cuda_options INTERFACE)
target_compile_features(bamba_cuda_options INTERFACE cxx_std_20)
target_compile_options(bamba_cuda_options INTERFACE
  $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20 -gencode=arch=compute_90a,code=sm_90a -lineinfo --expt-relaxed-constexpr
    --extended-lambda -Xcompiler=-Wall,-Wextra,-Wshadow -Wno-deprecated-gpu-targets>
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -march=x86-64-v2>)
if(BAMBA_WERROR)
  target_compile_options(bamba_cuda_options INTERFACE
    $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings -Xcompiler=-Werror> $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
target_link_libraries(bamba_cuda_options INTERFACE CUDA::cudart_static)
