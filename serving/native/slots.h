// The weights of one module's slots, repacked for multiply.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "multiply.h"

namespace dragoman {

struct FreeAligned {
  void operator()(void* memory) const { std::free(memory); }
};
using Buffer = std::unique_ptr<bf16[], FreeAligned>;

inline Buffer allocate(std::size_t count) {
  const std::size_t bytes = (count * sizeof(bf16) + 63) / 64 * 64;
  return Buffer(static_cast<bf16*>(std::aligned_alloc(64, std::max<std::size_t>(bytes, 64))));
}

inline int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

// One slice of one slot.

struct Packed {
  int rank = 0;  // the adapter's own, 0 where it leaves this slice alone
  Buffer a;      // [ranks / 16][inputs / 2][16][2]
  Buffer b;      // [outputs / 16][ranks / 2][16][2]
  std::uint64_t sample = 0;  // of the weights that were packed
};

// source: [lines][stride], packed by blocks of sixteen lines; what lies beyond them is zero.
inline Buffer pack(const bf16* source, int lines, int columns, std::int64_t stride) {
  const int pairs = (columns + 1) / 2, blocks = round_up(lines, kLanes) / kLanes;
  Buffer packed = allocate(static_cast<std::size_t>(blocks) * pairs * 2 * kLanes);
  if (!packed) return packed;
  bf16* to = packed.get();
  for (int block = 0; block < blocks; ++block, to += static_cast<std::size_t>(pairs) * 2 * kLanes) {
    const bf16* from = source + block * kLanes * stride;
    const int whole = lines >= (block + 1) * kLanes ? columns / 2 : 0;
    // Pairs move as one number, without a question on the way: this runs inside of a step.
    for (int pair = 0; pair < whole; ++pair) {
      for (int lane = 0; lane < kLanes; ++lane)
        std::memcpy(to + 2 * (pair * kLanes + lane), from + lane * stride + 2 * pair, 2 * sizeof(bf16));
    }
    for (int pair = whole; pair < pairs; ++pair) {
      for (int lane = 0; lane < kLanes; ++lane) {
        const bool is_there = block * kLanes + lane < lines;
        bf16* pair_of_lane = to + 2 * (pair * kLanes + lane);
        for (int side = 0; side < 2; ++side) {
          const int column = 2 * pair + side;
          pair_of_lane[side] = is_there && column < columns ? from[lane * stride + column] : 0;
        }
      }
    }
  }
  return packed;
}

inline bool is_zero(const bf16* values, int count) {
  unsigned seen = 0;
  for (int index = 0; index < count; ++index) seen |= values[index];
  return (seen & 0x7fff) == 0;
}

inline int rank_of(const bf16* a, int max_rank, int inputs) {
  int rank = max_rank;
  while (rank > 0 && is_zero(a + static_cast<std::int64_t>(rank - 1) * inputs, inputs)) --rank;
  return rank;
}

struct Slice {
  const bf16* a;  // [slots][max_rank][inputs]
  const bf16* b;  // [slots][outputs][max_rank]
  int outputs;
  int offset;  // of the slice's outputs in y
  std::vector<Packed> slots;
};

// A hash of some of a slot's weights: enough to tell one adapter from another.
inline std::uint64_t sample_of(const Slice& slice, int slot, int max_rank, int inputs) {
  std::uint64_t hash = 1469598103934665603ull;
  const auto take = [&](const bf16* values, int count) {
    for (int index = 0; index < count; ++index) hash = (hash ^ values[index]) * 1099511628211ull;
  };
  const bf16* a = slice.a + static_cast<std::int64_t>(slot) * max_rank * inputs;
  const bf16* b = slice.b + static_cast<std::int64_t>(slot) * slice.outputs * max_rank;
  take(a, std::min(inputs, 32));
  for (int part = 0; part < 4; ++part)
    take(b + static_cast<std::int64_t>(slice.outputs / 4) * part * max_rank, std::min(max_rank, 8));
  return hash;
}

struct Module {
  int inputs, max_rank;
  std::vector<Slice> slices;
};

}  // namespace dragoman
