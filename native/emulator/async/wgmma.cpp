#include <bit>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "emulator/async/async.h"
#include "emulator/async/product.h"
#include "emulator/async/proxy.h"
#include "emulator/thread.h"

namespace elasticlm::emulator {
namespace {

constexpr int kGroupThreads = 128;
constexpr const char* kWgmma = "wgmma";
// What accumulator registers hold while a product is in flight: a NaN that no arithmetic makes.
constexpr uint32_t kInFlightBits = 0x7fc0f117;

// One array of accumulators of a warpgroup, from the first product in flight on it to the wait that retires
// the last.
struct Accumulators {
  int n = 0;
  std::vector<float*> registers;  // of each thread [n / 2]
  std::vector<float> values;      // [64, n]
  int num_products = 0;           // not retired

  template <typename Use>
  void for_each_register(Use&& use) {
    for (int thread = 0; thread < kGroupThreads; ++thread) {
      for (int i = 0; i < n / 2; ++i) {
        const FragmentPlace place = fragment_place(thread, i);
        use(registers[static_cast<size_t>(thread)][i],
            values[static_cast<size_t>(place.row * n + place.column)]);
      }
    }
  }
  bool untouched() {
    bool all = true;
    for_each_register(
        [&](float& reg, float&) { all = all && std::bit_cast<uint32_t>(reg) == kInFlightBits; });
    return all;
  }
};

struct Operand {
  MatrixDescriptor descriptor;
  OperandShape shape;
  std::vector<OperandChunk> chunks;
};

struct Product {
  DType dtype = DType::kBF16;
  Operand a;
  Operand b;
  bool accumulate = false;
  Accumulators* accumulators = nullptr;
  std::string name;
  uint64_t operation = 0;
  bool done = false;
};

std::vector<uint32_t> chunk_addresses(const Product& product) {
  std::vector<uint32_t> addresses;
  for (const Operand* operand : {&product.a, &product.b}) {
    for (const OperandChunk& chunk : operand->chunks) addresses.push_back(chunk.address);
  }
  return addresses;
}

Operand make_operand(const char* name, uint64_t bits, const OperandShape& shape) {
  Operand operand = {.descriptor = decode_descriptor(bits), .shape = shape, .chunks = {}};
  if (const auto fault = descriptor_fault(operand.descriptor, shape)) {
    fail(std::string(kWgmma) + ", operand " + name + ": " + *fault);
  }
  operand.chunks = operand_chunks(operand.descriptor, shape);
  return operand;
}

// [16, extent]
std::vector<float> load_operand(const AsyncProxy& proxy, const Operand& operand, const Product& product) {
  std::vector<float> values(static_cast<size_t>(operand.shape.extent * kProductDepth));
  for (const OperandChunk& chunk : operand.chunks) {
    const unsigned char* bytes = proxy.read(chunk.address, product.name);
    for (int i = 0; i < 8; ++i) {
      uint16_t element;
      std::memcpy(&element, bytes + i * 2, sizeof(element));
      const int mn = chunk.mn + (operand.shape.mn_major ? i : 0);
      const int k = chunk.k + (operand.shape.mn_major ? 0 : i);
      values[static_cast<size_t>(k * operand.shape.extent + mn)] =
          product.dtype == DType::kF16 ? f16_to_f32(element) : bf16_to_f32(element);
    }
  }
  return values;
}

class Warpgroup {
 public:
  void fence() { fenced_ = true; }
  void issue(const Deposits<const WgmmaCall>& calls, AsyncProxy& proxy);
  void commit();
  void wait(int pending, AsyncProxy& proxy);

 private:
  Accumulators& accumulators_of(const Deposits<const WgmmaCall>& calls);
  void execute_up_to(const Product& last, const AsyncProxy& proxy);
  void retire(Product& product, AsyncProxy& proxy);

  // A fence has come since the warpgroup could last touch accumulators that no product in flight holds.
  bool fenced_ = false;
  std::map<float*, std::unique_ptr<Accumulators>> in_flight_;  // by thread 0's registers
  std::deque<std::unique_ptr<Product>> products_;              // issued and not retired, in order
  size_t num_uncommitted_ = 0;                                 // at the end of products_
  std::deque<size_t> groups_;                                  // sizes of committed groups, oldest first
};

Accumulators& Warpgroup::accumulators_of(const Deposits<const WgmmaCall>& calls) {
  const WgmmaCall& first = calls[0];
  std::unique_ptr<Accumulators>& held = in_flight_[first.acc];
  if (held == nullptr) {
    if (!fenced_) {
      fail(
          "wgmma on registers that ordinary code may have used since the last wgmma_fence: the fence is "
          "missing");
    }
    held = std::make_unique<Accumulators>();
    held->n = first.n;
    held->values.resize(static_cast<size_t>(kProductRows * first.n));
    for (int thread = 0; thread < kGroupThreads; ++thread) held->registers.push_back(calls[thread].acc);
    held->for_each_register([&](float& reg, float& value) {
      if (first.accumulate) value = reg;
      reg = std::bit_cast<float>(kInFlightBits);
    });
    return *held;
  }
  if (held->n != first.n) fail("wgmma of another N on accumulators of a product in flight");
  if (!held->untouched()) fail("accumulators of a wgmma in flight were written by ordinary code");
  return *held;
}

void Warpgroup::issue(const Deposits<const WgmmaCall>& calls, AsyncProxy& proxy) {
  const WgmmaCall& first = calls[0];
  for (int thread = 1; thread < kGroupThreads; ++thread) {
    const WgmmaCall& call = calls[thread];
    if (call.a != first.a || call.b != first.b || call.accumulate != first.accumulate || call.n != first.n ||
        call.n_major != first.n_major || call.dtype != first.dtype) {
      fail(
          "wgmma: threads of one warpgroup come with different instructions, descriptors or scales (thread " +
          std::to_string(thread) + " and thread 0 of it)");
    }
  }
  auto product = std::make_unique<Product>();
  product->dtype = first.dtype;
  product->a = make_operand("A", first.a, {.extent = kProductRows, .mn_major = false});
  product->b = make_operand("B", first.b, {.extent = first.n, .mn_major = first.n_major});
  product->accumulate = first.accumulate;
  product->name = std::string(kWgmma) + " m64n" + std::to_string(first.n) +
                  "k16 of the warpgroup from warp " + std::to_string(current_thread->warp->idx / 4 * 4);
  proxy.begin_read(chunk_addresses(*product), kWgmma);
  product->accumulators = &accumulators_of(calls);
  ++product->accumulators->num_products;
  Product* issued = product.get();
  products_.push_back(std::move(product));
  ++num_uncommitted_;
  issued->operation =
      begin_operation(Landing::kAnyTime, [this, issued, &proxy] { execute_up_to(*issued, proxy); });
}

// A warpgroup's products happen in order.
void Warpgroup::execute_up_to(const Product& last, const AsyncProxy& proxy) {
  for (const std::unique_ptr<Product>& product : products_) {
    if (!product->done) {
      Accumulators& accumulators = *product->accumulators;
      product_m64k16(accumulators.values, load_operand(proxy, product->a, *product),
                     load_operand(proxy, product->b, *product), accumulators.n, product->accumulate);
      product->done = true;
    }
    if (product.get() == &last) return;
  }
}

void Warpgroup::commit() {
  groups_.push_back(num_uncommitted_);
  num_uncommitted_ = 0;
}

void Warpgroup::wait(int pending, AsyncProxy& proxy) {
  while (groups_.size() > static_cast<size_t>(pending)) {
    for (size_t i = groups_.front(); i > 0; --i) {
      retire(*products_.front(), proxy);
      products_.pop_front();
    }
    groups_.pop_front();
  }
}

void Warpgroup::retire(Product& product, AsyncProxy& proxy) {
  land_operation(product.operation);
  proxy.end_read(chunk_addresses(product));
  Accumulators& accumulators = *product.accumulators;
  if (--accumulators.num_products > 0) return;
  if (!accumulators.untouched()) fail("accumulators of a wgmma in flight were written by ordinary code");
  accumulators.for_each_register([](float& reg, float& value) { reg = value; });
  in_flight_.erase(accumulators.registers[0]);
  fenced_ = false;
}

struct Warpgroups {
  std::map<int, Warpgroup> all;
};

Warpgroup& current_warpgroup() { return block_state<Warpgroups>().all[current_thread->warp->idx / 4]; }

}  // namespace

void wgmma(const WgmmaCall& call) {
  Warpgroup& warpgroup = current_warpgroup();
  AsyncProxy& proxy = block_state<AsyncProxy>();
  meet(Scope::kWarpgroup, kWgmma, call,
       [&](const Deposits<const WgmmaCall>& calls) { warpgroup.issue(calls, proxy); });
}

void wgmma_fence() {
  Warpgroup& warpgroup = current_warpgroup();
  if (arrive(Scope::kWarpgroup, "wgmma_fence")) {
    warpgroup.fence();
    leave(Scope::kWarpgroup);
  }
}

void wgmma_commit() {
  Warpgroup& warpgroup = current_warpgroup();
  if (arrive(Scope::kWarpgroup, "wgmma_commit")) {
    warpgroup.commit();
    leave(Scope::kWarpgroup);
  }
}

void wgmma_wait(int pending) {
  Warpgroup& warpgroup = current_warpgroup();
  AsyncProxy& proxy = block_state<AsyncProxy>();
  meet(Scope::kWarpgroup, "wgmma_wait", std::as_const(pending), [&](const Deposits<const int>& pendings) {
    for (int thread = 1; thread < kGroupThreads; ++thread) {
      if (pendings[thread] != pendings[0])
        fail("wgmma_wait: threads of one warpgroup wait for different groups");
    }
    warpgroup.wait(pending, proxy);
  });
}

}  // namespace elasticlm::emulator
