// CUDA C++ for a compiler that knows nothing of GPUs: the blocks of a launch run one after the
// other, the threads of a block take turns, each up to the next barrier.
//
// Reading what another thread has yet to write, for want of a barrier, shows as a difference between
// two runs whose threads take turns in opposite orders: see `xpnet_backwards`.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <setjmp.h>
#include <ucontext.h>

using std::exp;
using std::log;
using std::log1p;
using std::pow;
using std::sqrt;
using std::tanh;

#define __device__
#define __global__
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__
#define __launch_bounds__(...)

struct Dimensions { int x = 1, y = 1, z = 1; };
static Dimensions gridDim, blockDim, blockIdx, threadIdx;

extern "C" { int xpnet_backwards = 0; }

namespace host {
constexpr std::size_t STACK = 1 << 16;
// A thread of a block: a stack of its own, and a way to switch to and fro. It lives on from block to
// block. `_longjmp` switches without a call to the system, which ucontext makes each time.
struct Thread {
    ucontext_t context;
    jmp_buf place;
    // Not filled: of most of it no page is ever touched.
    std::unique_ptr<char[]> stack{new char[STACK]};
    bool started = false, done = false;
};
static std::deque<Thread> threads;
static jmp_buf scheduler;
static std::function<void()> body;
static int current;

inline void yield() {
    if (!_setjmp(threads[current].place)) _longjmp(scheduler, 1);
}

inline void live() {
    for (;;) {
        body();
        threads[current].done = true;
        yield();
    }
}

inline void resume(int number) {
    current = threadIdx.x = number;
    Thread& thread = threads[number];
    if (_setjmp(scheduler)) return;
    if (thread.started) _longjmp(thread.place, 1);
    thread.started = true;
    setcontext(&thread.context);
}

inline void run_block() {
    const int n = blockDim.x;
    while ((int)threads.size() < n) {
        threads.emplace_back();
        Thread& thread = threads.back();
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.get();
        thread.context.uc_stack.ss_size = STACK;
        makecontext(&thread.context, live, 0);
    }
    for (int i = 0; i < n; ++i) threads[i].done = false;
    for (bool any = true; any;) {
        any = false;
        for (int turn = 0; turn < n; ++turn) {
            const int number = xpnet_backwards ? n - 1 - turn : turn;
            if (threads[number].done) continue;
            resume(number);
            any = any || !threads[number].done;
        }
    }
}
}  // namespace host

static inline void __syncthreads() { host::yield(); }
static inline void __threadfence() {}
static inline int atomicAdd(int* at, int n) { const int old = *at; *at += n; return old; }

template <class... A, std::size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*(std::remove_const_t<A>*)arguments[I]...);
}

template <class... A>
void launch(void (*kernel)(A...), int gx, int gy, int gz, int block, void** arguments) {
    gridDim = {gx, gy, gz};
    blockDim = {block, 1, 1};
    host::body = [=] { call(kernel, arguments, std::index_sequence_for<A...>()); };
    const int blocks = gx * gy * gz;
    for (int i = 0; i < blocks; ++i) {
        const int at = xpnet_backwards ? blocks - 1 - i : i;
        blockIdx = {at % gx, at / gx % gy, at / gx / gy};
        host::run_block();
    }
}

// The tensor cores' instructions: the lanes of a warp put down their fragments, and each adds up
// what it is to hold (PTX ISA, mma.m16n8k8 and m16n8k16).
static inline unsigned bits_of(float x) { unsigned y; std::memcpy(&y, &x, 4); return y; }
static inline float float_of(unsigned x) { float y; std::memcpy(&y, &x, 4); return y; }
static inline unsigned to_tf32(float x) { return (bits_of(x) + 0x1000) & ~0x1fffu; }
static inline unsigned short to_bfloat16(float x) {
    const unsigned bits = bits_of(x);
    return x != x ? 0x7fc0 : (unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static unsigned warp_a[1024][4], warp_b[1024][2];

template <class Left, class Right>
void mma(float* c, const unsigned (&a)[4], const unsigned (&b)[2], int depth, Left left, Right right) {
    const int self = threadIdx.x, warp = self / 32 * 32, g = self % 32 / 4, t = self % 4;
    std::memcpy(warp_a[self], a, sizeof a);
    std::memcpy(warp_b[self], b, sizeof b);
    __syncthreads();
    for (int q = 0; q < 4; ++q) {
        const int row = g + q / 2 * 8, column = 2 * t + q % 2;
        for (int k = 0; k < depth; ++k) c[q] += left(warp, row, k) * right(warp, k, column);
    }
    __syncthreads();
}
static inline void mma_tf32(float* c, const unsigned (&a)[4], const unsigned (&b)[2]) {
    mma(c, a, b, 8,
        [](int warp, int m, int k) {
            return float_of(warp_a[warp + m % 8 * 4 + k % 4][m / 8 + k / 4 * 2]);
        },
        [](int warp, int k, int n) { return float_of(warp_b[warp + n * 4 + k % 4][k / 4]); });
}
static inline void mma_bfloat16(float* c, const unsigned (&a)[4], const unsigned (&b)[2]) {
    auto half = [](unsigned word, int k) { return float_of(k % 2 ? word & 0xffff0000u : word << 16); };
    mma(c, a, b, 16,
        [=](int warp, int m, int k) {
            return half(warp_a[warp + m % 8 * 4 + k % 8 / 2][m / 8 + k / 8 * 2], k);
        },
        [=](int warp, int k, int n) { return half(warp_b[warp + n * 4 + k % 8 / 2][k / 8], k); });
}
