# Everything a person may switch, in one place.
option(BAMBA_BUILD_CLI "Build the program `bamba`" ON)
option(BAMBA_BUILD_SERVER "Build `bamba serve` (needs Boost's headers)" ON)
option(BAMBA_BUILD_TESTS "Build the tests (GoogleTest)" ${PROJECT_IS_TOP_LEVEL})
option(BAMBA_BUILD_BENCH "Build the micro-benchmarks (Google Benchmark)" OFF)
option(BAMBA_BUILD_FUZZERS "Build the libFuzzer targets (clang only)" OFF)
option(BAMBA_CUDA "Build the CUDA backend (needs the CUDA toolkit 12.4 or newer; for compute capability 9.0)" OFF)
option(BAMBA_WERROR "Treat warnings as errors" OFF)
option(BAMBA_SANITIZE "Build with AddressSanitizer and UndefinedBehaviorSanitizer" OFF)
option(BAMBA_TSAN "Build with ThreadSanitizer" OFF)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
