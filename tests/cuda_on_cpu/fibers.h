// CUDA's threads on a CPU, well enough to run kernels from their own source: every thread is a fiber, one block runs at
// a time, and a barrier is a switch to the next fiber.
//
// Between barriers threads run in the order that is asked for, one after the other: a kernel that needs a barrier it
// doesn't have computes something else in another order. Shared memory begins as NaN in every block. It says nothing of
// speed, and nothing of what other threads see without a barrier of what one has written.
#pragma once
#include <csetjmp>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <functional>
#include <numeric>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__ static __attribute__((section("cuda_shared")))
#define __syncthreads() fibers::wait(fibers::AT_BARRIER, __LINE__)

using std::abs, std::exp, std::expm1, std::fabs, std::log, std::log1p, std::sqrt, std::tanh;

struct Place { int x = 1, y = 1; };
static Place threadIdx, blockIdx, blockDim, gridDim;

// Where the linker put all that is shared.
extern "C" char __start_cuda_shared[], __stop_cuda_shared[];

namespace fibers {

enum State { READY, AT_BARRIER, AT_EXCHANGE, DONE };
enum Order { FORWARD, REVERSE, SHUFFLED };
const int WARP_SIZE = 32;
const size_t STACK_BYTES = 64 << 10;

// Where a fiber or the scheduler was left. Begun as contexts, they are left and entered by jumps, since a switch of
// contexts is a call to the system; but for AddressSanitizer, which takes a jump for the end of a function.
struct Stop {
  ucontext_t context;
  jmp_buf jump;
  bool begun = true;
};

inline void go(Stop& from, Stop& to) {
#ifdef __SANITIZE_ADDRESS__
  to.begun = true;
  swapcontext(&from.context, &to.context);
#else
  if (_setjmp(from.jump)) return;
  if (to.begun) _longjmp(to.jump, 1);
  to.begun = true;
  setcontext(&to.context);
#endif
}

struct Fiber {
  Stop stop;
  std::vector<char> stack = std::vector<char>(STACK_BYTES);
  State state = READY;
  int line = 0;
};

static Stop scheduler;
static std::deque<Fiber> threads;  // which may not move
static std::vector<unsigned long long> exchanged;
static std::function<void()> kernel;
static size_t current;
static long barriers;

inline void resume(size_t thread) {
  current = thread;
  threadIdx = {int(thread) % blockDim.x, int(thread) / blockDim.x};
  go(scheduler, threads[thread].stop);
}

inline void wait(State reason, int line) {
  Fiber& mine = threads[current];
  mine.state = reason;
  mine.line = line;
  go(mine.stop, scheduler);
}

// A fiber does one block's thread after the other.
inline void run() {
  for (;;) {
    kernel();
    wait(DONE, 0);
  }
}

// So many fibers, of which those that are there already are taken again.
inline void prepare(size_t count) {
  const size_t old = threads.size();
  threads.resize(count);
  exchanged.resize(count);
  for (size_t i = old; i < count; i++) {
    Fiber& fiber = threads[i];
    getcontext(&fiber.stop.context);
    fiber.stop.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.stop.context.uc_stack.ss_size = fiber.stack.size();
    fiber.stop.context.uc_link = nullptr;
    makecontext(&fiber.stop.context, run, 0);
    fiber.stop.begun = false;
  }
  for (Fiber& fiber : threads) fiber.state = READY;
}

// Let every warp go on whose threads have all given their numbers.
inline bool exchange() {
  bool any = false;
  for (size_t first = 0; first < threads.size(); first += WARP_SIZE) {
    auto begin = threads.begin() + first, end = begin + std::min<size_t>(WARP_SIZE, threads.size() - first);
    if (!std::all_of(begin, end, [](const Fiber& f) { return f.state == AT_EXCHANGE; })) continue;
    for (auto fiber = begin; fiber != end; ++fiber) fiber->state = READY;
    any = true;
  }
  return any;
}

// Whether the block is done; else every thread must have come to the same barrier.
inline bool finish_or_pass() {
  size_t waiting = 0, done = 0;
  for (const Fiber& fiber : threads) {
    done += fiber.state == DONE;
    waiting += fiber.state == AT_BARRIER && fiber.line == threads[0].line;
  }
  if (done == threads.size()) return true;
  if (waiting != threads.size()) throw std::runtime_error("not all threads come to the same barrier");
  barriers++;
  for (Fiber& fiber : threads) fiber.state = READY;
  return false;
}

// Not a call to memset: AddressSanitizer would find its own guards between the variables.
__attribute__((no_sanitize("address"))) inline void poison() {
  for (volatile char* byte = __start_cuda_shared; byte < __stop_cuda_shared; ++byte) *byte = char(0xFF);
}

inline void order_of(std::vector<int>& numbers, int order, std::mt19937& random) {
  std::iota(numbers.begin(), numbers.end(), 0);
  if (order == REVERSE) std::reverse(numbers.begin(), numbers.end());
  if (order == SHUFFLED) std::shuffle(numbers.begin(), numbers.end(), random);
}

inline void run_block(int order, std::mt19937& random) {
  prepare(blockDim.x * blockDim.y);
  poison();
  std::vector<int> turns(threads.size());
  do {
    order_of(turns, order, random);
    for (int thread : turns)
      if (threads[thread].state == READY) resume(thread);
  } while (exchange() || !finish_or_pass());
}

inline void launch(std::function<void()> body, Place grid, Place block, int order, unsigned seed) {
  std::mt19937 random(seed);
  kernel = std::move(body);
  gridDim = grid;
  blockDim = block;
  std::vector<int> blocks(grid.x * grid.y);
  order_of(blocks, order, random);
  for (int number : blocks) {
    blockIdx = {number % grid.x, number / grid.x};
    run_block(order, random);
  }
}

// A kernel as the driver is given it: by its arguments' addresses.
template <class... A, size_t... I>
std::function<void()> bound(void (*function)(A...), void** arguments, std::index_sequence<I...>) {
  return [=] { function(*static_cast<A*>(arguments[I])...); };
}

template <class... A> std::function<void()> bound(void (*function)(A...), void** arguments) {
  return bound(function, arguments, std::index_sequence_for<A...>());
}

}  // namespace fibers

template <class T> T __shfl_xor_sync(unsigned, T value, int distance) {
  const size_t me = fibers::current;
  std::memcpy(&fibers::exchanged[me], &value, sizeof value);
  fibers::wait(fibers::AT_EXCHANGE, 0);
  std::memcpy(&value, &fibers::exchanged[me ^ distance], sizeof value);
  fibers::wait(fibers::AT_EXCHANGE, 1);  // nobody may overwrite a number before it is read
  return value;
}
