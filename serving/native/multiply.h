// Small products of bfloat16, summed in float32: the inner loop, for each kind of processor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace dragoman {

using bf16 = std::uint16_t;

constexpr int kLanes = 16;    // float32 values in a 512-bit register
constexpr int kRowBlock = 8;  // rows that share one load of weights

inline float widen(bf16 value) {
  const std::uint32_t bits = static_cast<std::uint32_t>(value) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

inline bf16 narrow(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (value != value) return static_cast<bf16>((bits >> 16) | 0x40);  // NaN stays NaN
  return static_cast<bf16>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);  // to nearest even
}

// One block: output[row][lane] (+)= sum over pairs of weights[pair][lane] . input[row][pair]

struct Block {
  const bf16* weights;       // [pairs][lanes][2]
  const bf16* const* input;  // [rows] -> [pairs][2]
  bf16* const* output;       // [rows] -> [lanes]
  int rows;                  // 1..kRowBlock
  int pairs;
  int lanes;  // that are written, 1..kLanes
  bool add;   // to what is there; otherwise overwrite it
};
using Multiply = void (*)(const Block&);

#if defined(__x86_64__) && defined(__GLIBC__)
__attribute__((target_clones("avx512f", "avx2,fma", "default")))
#endif
inline void multiply_portable(const Block& block) {
  for (int row = 0; row < block.rows; ++row) {
    float total[kLanes] = {};
    const bf16* input = block.input[row];
    for (int pair = 0; pair < block.pairs; ++pair) {
      const float first = widen(input[2 * pair]), second = widen(input[2 * pair + 1]);
      const bf16* weights = block.weights + static_cast<std::size_t>(pair) * 2 * kLanes;
      for (int lane = 0; lane < kLanes; ++lane) {
        total[lane] += widen(weights[2 * lane]) * first + widen(weights[2 * lane + 1]) * second;
      }
    }
    bf16* output = block.output[row];
    for (int lane = 0; lane < block.lanes; ++lane)
      output[lane] = narrow(block.add ? widen(output[lane]) + total[lane] : total[lane]);
  }
}

#if defined(__x86_64__)
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

AVX512 inline __m512bh load_pairs(const bf16* weights, int pair) {
  const bf16* from = weights + static_cast<std::size_t>(pair) * 2 * kLanes;
  return reinterpret_cast<__m512bh>(_mm512_load_si512(from));
}

AVX512 inline __m512bh repeat_pair(const bf16* input, int pair) {
  std::int32_t both;
  std::memcpy(&both, input + 2 * static_cast<std::size_t>(pair), sizeof both);
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(both));
}

AVX512 inline void write(const Block& block, int row, __m512 total) {
  bf16* output = block.output[row];
  const __mmask16 lanes = static_cast<__mmask16>((1u << block.lanes) - 1);
  if (block.add) {
    const __m512i before = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, output));
    total = _mm512_add_ps(total, _mm512_castsi512_ps(_mm512_slli_epi32(before, 16)));
  }
  const __m256i rounded = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(total));
  _mm256_mask_storeu_epi16(output, lanes, rounded);
}

// Several chains of sums per row where rows are few: one multiplication waits for its predecessor.
template <int kRows, int kChains>
AVX512 void multiply_rows(const Block& block) {
  __m512 total[kRows][kChains];
  for (int row = 0; row < kRows; ++row)
    for (int chain = 0; chain < kChains; ++chain) total[row][chain] = _mm512_setzero_ps();
  int pair = 0;
  for (; pair + kChains <= block.pairs; pair += kChains) {
#pragma GCC unroll 8
    for (int chain = 0; chain < kChains; ++chain) {
      const __m512bh weights = load_pairs(block.weights, pair + chain);
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
        const __m512bh input = repeat_pair(block.input[row], pair + chain);
        total[row][chain] = _mm512_dpbf16_ps(total[row][chain], weights, input);
      }
    }
  }
  for (; pair < block.pairs; ++pair) {
    const __m512bh weights = load_pairs(block.weights, pair);
    for (int row = 0; row < kRows; ++row)
      total[row][0] = _mm512_dpbf16_ps(total[row][0], weights, repeat_pair(block.input[row], pair));
  }
  for (int row = 0; row < kRows; ++row) {
    for (int chain = 1; chain < kChains; ++chain)
      total[row][0] = _mm512_add_ps(total[row][0], total[row][chain]);
    write(block, row, total[row][0]);
  }
}

AVX512 inline void multiply_avx512bf16(const Block& block) {
  switch (block.rows) {
    case 1: return multiply_rows<1, 8>(block);
    case 2: return multiply_rows<2, 4>(block);
    case 3: return multiply_rows<3, 2>(block);
    case 4: return multiply_rows<4, 2>(block);
    case 5: return multiply_rows<5, 2>(block);
    case 6: return multiply_rows<6, 1>(block);
    case 7: return multiply_rows<7, 1>(block);
    default: return multiply_rows<8, 1>(block);
  }
}
#endif

inline Multiply fastest() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    return multiply_avx512bf16;
#endif
  return multiply_portable;
}

}  // namespace dragoman
