# One interface target carries the language level, warnings and sanitizers for all of our own code.
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

add_library(bamba_compile_options INTERFACE)
target_compile_features(bamba_compile_options INTERFACE cxx_std_20)
# Kernels promise bit-identical results for any batch and any cut of a prompt. A compiler that contracts a*b+c into
# an FMA in one loop and not in another breaks that promise, so contraction is ours to ask for, never the compiler's.
target_compile_options(bamba_compile_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor
  -ffp-contract=off)
# The floor for everything outside the kernels; kernels pick wider instructions at run time.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_options(bamba_compile_options INTERFACE -march=x86-64-v2)
endif()
# clang warns of it too, but not in files that are compiled in groups (BAMBA_UNITY).
target_compile_options(bamba_compile_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wunused-const-variable=1>)
if(BAMBA_WERROR)
  target_compile_options(bamba_compile_options INTERFACE -Werror)
endif()
# Reports of sanitizers name functions and lines; what variables hold is for a debugger, and would cost a sixth.
set(bamba_line_tables $<IF:$<CXX_COMPILER_ID:Clang>,-gline-tables-only,-g1>)
if(BAMBA_SANITIZE)
  target_compile_options(bamba_compile_options INTERFACE
    -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer ${bamba_line_tables}
    # In unrolled kernels these two cost minutes a file, and AddressSanitizer sees what they look for when it is used.
    $<$<BOOL:$<TARGET_PROPERTY:BAMBA_HAS_KERNELS>>:-fno-sanitize=pointer-overflow,object-size>)
  target_link_options(bamba_compile_options INTERFACE -fsanitize=address,undefined)
endif()
if(BAMBA_TSAN)
  target_compile_options(bamba_compile_options INTERFACE -fsanitize=thread ${bamba_line_tables})
  target_link_options(bamba_compile_options INTERFACE -fsanitize=thread)
endif()
if(BAMBA_BUILD_FUZZERS AND NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "BAMBA_BUILD_FUZZERS needs clang (libFuzzer); configure with -DCMAKE_CXX_COMPILER=clang++")
endif()
if(BAMBA_BUILD_FUZZERS OR (BAMBA_SANITIZE AND CMAKE_CXX_COMPILER_ID MATCHES "Clang"))
  # Coverage for the library; the driver itself is linked by the fuzz targets only. The tests do not need it: with the
  # same flags the fuzz targets take the library's objects from the compiler cache.
  target_compile_options(bamba_compile_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# For what only drives the library: under sanitizers, optimising it takes longer than running it as it is, and no fuzz
# target asks for its coverage.
add_library(bamba_driver_options INTERFACE)
if(BAMBA_SANITIZE OR BAMBA_TSAN)
  target_compile_options(bamba_driver_options INTERFACE -O0)
  # Of an inline function that several files have, the linker takes the first: the library's, which is optimised.
  target_link_options(bamba_driver_options INTERFACE LINKER:--whole-archive,$<TARGET_FILE:bamba>,--no-whole-archive)
endif()
if(BAMBA_SANITIZE AND CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(bamba_driver_options INTERFACE -fno-sanitize=fuzzer-no-link)
endif()
