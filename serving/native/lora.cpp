// LoRA products of a mixed batch on the CPU: y[row] += B[slot(row)] * (A[slot(row)] * x[row]).
//
// One call serves all slices of one module (q, k and v, for example) and all adapters of a batch:
// rows come grouped by slot, so that weights are read once per group and never gathered per row.
// Weights are repacked once, when a slot is filled, so that a vector register holds sixteen ranks
// (A) or sixteen outputs (B) by two inputs, which is what vdpbf16ps multiplies; an adapter's own
// rank is kept, so slots sized for rank 512 cost nothing to an adapter of rank 16.
// All numbers are bfloat16, sums are float32; A*x is rounded to bfloat16, as vLLM's kernels do.
//
// Plain C interface (see serving/cpu_kernel.py), no dependency but OpenMP's runtime.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "multiply.h"
#include "slots.h"

using namespace dragoman;

namespace {

constexpr int kOutputChunk = 256;  // outputs of one work item: B of rank 16 then fills 8 KB of L1
// Below this much work (some 70 us), one thread does it: a second one that the machine has lent to
// somebody else keeps the first one waiting at the barrier. Unit: one multiplication; to read a
// weight from memory takes as long as some of them.
constexpr std::int64_t kParallelWork = 4 << 20, kWorkOfWeight = 8;

Multiply multiply = fastest();

struct Group {
  int slot, first, count;  // rows[first .. first + count)
};

struct Item {
  int group, slice, block;  // block: of ranks while shrinking, chunk of outputs while expanding
};

struct Workspace {
  std::vector<bf16> hidden;  // [rows][hidden_width]: A*x of every slice, in bfloat16
  std::vector<int> offsets;  // of (group, slice) in a row of hidden
  std::vector<Item> shrink, expand;
};

struct Call {
  const Module& module;
  const bf16* x;
  std::int64_t x_stride;
  bf16* y;
  std::int64_t y_stride;
  const Group* groups;
  int group_count;
  const std::int32_t* rows;
  Workspace& work;
  int hidden_width;
  Multiply multiply;
};

// Calls visit(positions, count) with blocks of a group's positions in the sorted order of rows.
template <typename Visit>
void for_row_blocks(const Group& group, Visit visit) {
  for (int done = 0; done < group.count; done += kRowBlock)
    visit(group.first + done, std::min(kRowBlock, group.count - done));
}

bf16* hidden_row(const Call& call, const Item& item, int position) {
  const std::size_t slices = call.module.slices.size();
  return call.work.hidden.data() + static_cast<std::size_t>(position) * call.hidden_width +
         call.work.offsets[item.group * slices + item.slice];
}

void shrink(const Call& call, const Item& item) {
  const Group& group = call.groups[item.group];
  const Packed& packed = call.module.slices[item.slice].slots[group.slot];
  const int pairs = call.module.inputs / 2;
  const bf16* weights = packed.a.get() + static_cast<std::size_t>(item.block) * pairs * 2 * kLanes;
  const bf16* input[kRowBlock];
  bf16* output[kRowBlock];
  for_row_blocks(group, [&](int first, int count) {
    for (int row = 0; row < count; ++row) {
      input[row] = call.x + call.rows[first + row] * call.x_stride;
      output[row] = hidden_row(call, item, first + row) + item.block * kLanes;
    }
    call.multiply({weights, input, output, count, pairs, kLanes, false});
  });
}

void expand(const Call& call, const Item& item) {
  const Group& group = call.groups[item.group];
  const Slice& slice = call.module.slices[item.slice];
  const Packed& packed = slice.slots[group.slot];
  const int pairs = (packed.rank + 1) / 2;
  const int begin = item.block * kOutputChunk, end = std::min(begin + kOutputChunk, slice.outputs);
  const bf16* input[kRowBlock];
  bf16* output[kRowBlock];
  for_row_blocks(group, [&](int first, int count) {
    for (int row = 0; row < count; ++row) {
      input[row] = hidden_row(call, item, first + row);
      output[row] = call.y + call.rows[first + row] * call.y_stride + slice.offset + begin;
    }
    for (int at = begin; at < end; at += kLanes) {
      const bf16* weights = packed.b.get() + static_cast<std::size_t>(at / kLanes) * pairs * 2 * kLanes;
      call.multiply({weights, input, output, count, pairs, std::min(kLanes, end - at), true});
      for (int row = 0; row < count; ++row) output[row] += kLanes;
    }
  });
}

// Lists the work and returns how much it is.
std::int64_t plan(const Module& module, const Group* groups, int group_count, Workspace& work,
                  int& width) {
  std::int64_t total = 0;
  const int slices = static_cast<int>(module.slices.size());
  work.shrink.clear();
  work.expand.clear();
  work.offsets.assign(static_cast<std::size_t>(group_count) * slices, 0);
  width = 0;
  for (int group = 0; group < group_count; ++group) {
    int offset = 0;
    for (int index = 0; index < slices; ++index) {
      const Slice& slice = module.slices[index];
      const int rank = slice.slots[groups[group].slot].rank;
      work.offsets[group * slices + index] = offset;
      if (rank == 0) continue;
      offset += round_up(rank, kLanes);
      for (int block = 0; block * kLanes < rank; ++block) work.shrink.push_back({group, index, block});
      for (int chunk = 0; chunk * kOutputChunk < slice.outputs; ++chunk)
        work.expand.push_back({group, index, chunk});
      total += static_cast<std::int64_t>(groups[group].count + kWorkOfWeight) * rank *
               (module.inputs + slice.outputs);
    }
    width = std::max(width, offset);
  }
  return total;
}

}  // namespace

extern "C" {

// Returns nullptr when memory is short. a and b point to the slots' weights, as vLLM keeps them.
void* dragoman_lora_module(int slots, int inputs, int max_rank, int slices, const void* const* a,
                           const void* const* b, const std::int32_t* outputs) try {
  auto module = std::make_unique<Module>();
  module->inputs = inputs;
  module->max_rank = max_rank;
  int offset = 0;
  for (int slice = 0; slice < slices; ++slice) {
    module->slices.push_back({static_cast<const bf16*>(a[slice]), static_cast<const bf16*>(b[slice]),
                              outputs[slice], offset, std::vector<Packed>(slots)});
    offset += outputs[slice];
  }
  return module.release();
} catch (...) {
  return nullptr;
}

void dragoman_lora_free(void* module) { delete static_cast<Module*>(module); }

// Takes over what now lies in a slot, up to `max_rank`: what lies beyond is known to be zero.
// Returns 0, or -1 when memory is short.
int dragoman_lora_fill(void* handle, int slot, int max_rank) {
  Module& module = *static_cast<Module*>(handle);
  for (Slice& slice : module.slices) {
    const std::int64_t a_size = static_cast<std::int64_t>(module.max_rank) * module.inputs;
    const bf16* a = slice.a + slot * a_size;
    const bf16* b = slice.b + slot * static_cast<std::int64_t>(slice.outputs) * module.max_rank;
    Packed packed;
    packed.sample = sample_of(slice, slot, module.max_rank, module.inputs);
    packed.rank = rank_of(a, std::min(max_rank, module.max_rank), module.inputs);
    if (packed.rank) {
      packed.a = pack(a, packed.rank, module.inputs, module.inputs);
      packed.b = pack(b, slice.outputs, packed.rank, module.max_rank);
      if (!packed.a || !packed.b) return -1;
    }
    slice.slots[slot] = std::move(packed);
  }
  return 0;
}

// Returns 1 if what was packed is still what lies in a slot, as far as samples tell, else 0.
int dragoman_lora_holds(void* handle, int slot) {
  const Module& module = *static_cast<Module*>(handle);
  for (const Slice& slice : module.slices) {
    if (slice.slots[slot].sample != sample_of(slice, slot, module.max_rank, module.inputs)) return 0;
  }
  return 1;
}

// Adds every group's LoRA to y. Strides in elements. Returns 0, or -1 when memory is short.
int dragoman_lora_apply(void* handle, const void* x, std::int64_t x_stride, void* y,
                        std::int64_t y_stride, const void* groups, int group_count,
                        const std::int32_t* rows, int row_count) try {
  static thread_local Workspace work;
  const Module& module = *static_cast<Module*>(handle);
  int width;
  const std::int64_t amount =
      plan(module, static_cast<const Group*>(groups), group_count, work, width);
  if (work.shrink.empty()) return 0;
  work.hidden.resize(static_cast<std::size_t>(row_count) * width);
  const Call call{module, static_cast<const bf16*>(x), x_stride, static_cast<bf16*>(y), y_stride,
                  static_cast<const Group*>(groups), group_count, rows, work, width,
                  multiply};
  const int shrinks = static_cast<int>(work.shrink.size());
  const int expands = static_cast<int>(work.expand.size());
#pragma omp parallel if (amount > kParallelWork)
  {
#pragma omp for schedule(static)
    for (int item = 0; item < shrinks; ++item) shrink(call, call.work.shrink[item]);
#pragma omp for schedule(static)
    for (int item = 0; item < expands; ++item) expand(call, call.work.expand[item]);
  }
  return 0;
} catch (...) {
  return -1;
}

// Takes the code that runs on every processor, or again the fastest: for tests.
void dragoman_lora_portable(int wanted) { multiply = wanted ? multiply_portable : fastest(); }

// Which code multiplies here: for logs and tests.
const char* dragoman_lora_isa() {
  return multiply == multiply_portable ? "portable" : "avx512bf16";
}
}
