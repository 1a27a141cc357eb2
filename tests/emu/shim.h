// The part of CUDA C++ that kernels/ use, as plain C++: one fiber per CUDA thread, one OS thread per running block.
//
// For correctness only. A block's threads are switched by hand where they meet, at barriers and warp operations, in an order
// that can be chosen: forward, reverse or random. A kernel whose results depend on that order has a missing barrier. A barrier
// that some threads miss is reported as a deadlock. Shared memory begins as garbage, and every allocation is one of the host's,
// so that AddressSanitizer sees what a kernel touches. Not seen: races within a stretch between barriers that all orders
// resolve alike, races between blocks, and what the hardware's approximations do. Blocks of a cluster, or of a cooperative
// launch, each have an OS thread of their own.
#pragma once
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <thread>
#include <tuple>
#include <type_traits>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __shared__ static thread_local  // one OS thread runs one block at a time
#define __launch_bounds__(...)
#define TG_SHARED(type, name) type* name = reinterpret_cast<type*>(emu::block->shared)

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

namespace emu {

enum Order { FORWARD, REVERSE, RANDOM };
inline int order = FORWARD;
inline uint64_t order_seed = 1;

// Where threads meet: the generation moves on when all have arrived.
struct Barrier {
    unsigned arrived = 0, generation = 0;
};

struct Warp {
    Barrier barrier;
    unsigned live = 0, operations[32] = {};
    uint64_t slots[2][32];
};

struct Fiber {
    void* stack_pointer = nullptr;
    dim3 thread;
    unsigned index = 0, warp = 0, lane = 0;
    const unsigned* waits_for = nullptr;  // a generation, which has to differ from this one
    unsigned generation = 0;
    bool done = false;
};

// Blocks that run at the same time, and where each has its shared memory.
struct Peers {
    explicit Peers(unsigned count) : shared(count) {}

    // The generation to wait for the end of.
    unsigned arrive() {
        const std::lock_guard<std::mutex> held(lock);
        const unsigned before = generation;
        if (++arrived < shared.size()) return before;
        arrived = 0;
        ++generation;
        moved.notify_all();
        return before;
    }

    void wait(unsigned before) {
        std::unique_lock<std::mutex> held(lock);
        moved.wait(held, [&] { return generation != before; });
    }

    void meet() { wait(arrive()); }

    std::vector<char*> shared;
    std::mutex lock;
    std::condition_variable moved;
    unsigned arrived = 0, generation = 0;
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    Barrier barrier, cluster;
    Peers* peers;
    unsigned arrived_of_cluster = 0, generation_of_cluster = 0;
    unsigned rank;
    unsigned live;
    Fiber* current;
    void* host_stack;
    dim3 index, size, grid;
    char* shared;
    const std::function<void()>* body;
    uint64_t random;
};
inline thread_local Block* block;

// Saves the callee's registers and the stack pointer, and goes on where `to` stopped.
extern "C" void emu_switch(void** save, void* to);
#if defined(__x86_64__)
constexpr int SAVED = 6;
asm(R"(
.text
.weak emu_switch
.type emu_switch,@function
emu_switch:
    push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
    ret
.size emu_switch,.-emu_switch
)");
#else
#error "tests/emu runs on x86-64 only: the switch between fibers is written for it"
#endif

[[noreturn]] inline void deadlock() {
    const Block& b = *block;
    fprintf(stderr, "emu: DEADLOCK in block (%u,%u,%u): %u of %u live threads are at the barrier, thread %u at a warp operation\n",
            b.index.x, b.index.y, b.index.z, b.barrier.arrived, b.live, b.current->index);
    abort();
}

// Goes on with the next thread that can, from one that waits or is done. at_barrier: not from one that looks again and again.
inline void yield(bool at_barrier = false) {
    Block* const b = block;
    Fiber* const from = b->current;
    const unsigned n = b->fibers.size();
    if (b->live == 0) {
        emu_switch(&from->stack_pointer, b->host_stack);
        return;
    }
    unsigned start = from->index;
    // A warp goes on for as long as it can: it may be far ahead of another.
    if (order == FORWARD && at_barrier) start = from->warp * 32 + n - 1;
    if (order == RANDOM) {
        b->random = b->random * 6364136223846793005u + 1442695040888963407u;
        start = (b->random >> 33) % n;
    }
    for (unsigned k = 1; k <= n; ++k) {
        Fiber& next = b->fibers[order == REVERSE ? (start + 2 * n - k) % n : (start + k) % n];
        if (next.done || (next.waits_for && *next.waits_for == next.generation)) continue;
        next.waits_for = nullptr;
        b->current = &next;
        if (&next != from) emu_switch(&from->stack_pointer, next.stack_pointer);
        return;
    }
    deadlock();
}

inline void meet(Barrier& barrier, unsigned needed) {
    Fiber* const me = block->current;
    me->waits_for = &barrier.generation;
    me->generation = barrier.generation;
    if (++barrier.arrived >= needed) {
        barrier.arrived = 0;
        ++barrier.generation;
    }
    yield(true);
}

// Where every fiber begins.
inline void enter() {
    (*block->body)();
    Block* const b = block;
    Fiber* const me = b->current;
    me->done = true;
    --b->live;
    --b->warps[me->warp].live;
    if (b->live && b->barrier.arrived == b->live) {  // who has left counts as arrived
        b->barrier.arrived = 0;
        ++b->barrier.generation;
    }
    yield();
    abort();
}

// Stacks of fibers, kept for the next block: threads end with their launch.
class Stacks {
public:
    static constexpr size_t BYTES = 128 << 10;

    std::vector<char*> take(size_t count) {
        const std::lock_guard<std::mutex> held(lock);
        while (kept.size() < count) {
            void* const stack = mmap(nullptr, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (stack == MAP_FAILED) abort();
            kept.push_back(static_cast<char*>(stack));
        }
        const std::vector<char*> taken(kept.end() - count, kept.end());
        kept.resize(kept.size() - count);
        return taken;
    }

    void give_back(const std::vector<char*>& stacks) {
        const std::lock_guard<std::mutex> held(lock);
        kept.insert(kept.end(), stacks.begin(), stacks.end());
    }

private:
    std::mutex lock;
    std::vector<char*> kept;
};
inline Stacks all_stacks;

inline void run_block(dim3 index, dim3 grid, dim3 size, size_t shared, const std::function<void()>& body,
                      Peers* peers = nullptr, unsigned rank = 0) {
    const unsigned n = size.x * size.y * size.z;
    // Exactly as large as asked for, so that AddressSanitizer knows its end; garbage, as on the device.
    const size_t bytes = (shared + 15) / 16 * 16;
    char* const room = static_cast<char*>(aligned_alloc(16, bytes ? bytes : 16));
    memset(room, 0xFF, bytes ? bytes : 16);  // floats that are none: what is read too early spreads
    Block b;
    b.fibers.resize(n);
    b.warps.resize((n + 31) / 32);
    b.live = n;
    b.index = index, b.size = size, b.grid = grid, b.shared = room, b.body = &body, b.peers = peers, b.rank = rank;
    b.random = order_seed * 0x9E3779B97F4A7C15u + index.x * 77 + index.y * 7 + index.z;
    const std::vector<char*> stacks = all_stacks.take(n);
    for (unsigned i = 0; i < n; ++i) {
        Fiber& fiber = b.fibers[i];
        fiber.index = i, fiber.warp = i / 32, fiber.lane = i % 32;
        fiber.thread = dim3(i % size.x, i / size.x % size.y, i / (size.x * size.y));
        ++b.warps[fiber.warp].live;
        void** top = reinterpret_cast<void**>(stacks[i] + Stacks::BYTES);
        *--top = nullptr;
        *--top = reinterpret_cast<void*>(&enter);
        for (int k = 0; k < SAVED; ++k) *--top = nullptr;
        fiber.stack_pointer = top;
    }
    if (peers) {
        peers->shared[rank] = room;
        peers->meet();
    }
    Block* const outer = block;
    block = &b;
    b.current = &b.fibers[order == REVERSE ? n - 1 : 0];
    emu_switch(&b.host_stack, b.current->stack_pointer);
    block = outer;
    all_stacks.give_back(stacks);
    if (peers) peers->meet();  // nobody writes into what is gone
    free(room);
}

// Runs all blocks of a grid.
inline void launch(dim3 grid, dim3 size, size_t shared, const std::function<void()>& body) {
    const unsigned total = grid.x * grid.y * grid.z;
    std::atomic<unsigned> next{0};
    const auto work = [&] {
        for (unsigned i; (i = next++) < total;)
            run_block(dim3(i % grid.x, i / grid.x % grid.y, i / (grid.x * grid.y)), grid, size, shared, body);
    };
    if (total < 4) return work();
    std::vector<std::thread> threads;
    for (unsigned k = 1; k < std::min(total, std::thread::hardware_concurrency()); ++k) threads.emplace_back(work);
    work();
    for (std::thread& thread : threads) thread.join();
}

// The same for a grid whose blocks run at the same time, so many neighbours together: a cluster, or all of a cooperative grid.
inline void launch_together(dim3 grid, dim3 size, size_t shared, unsigned together, const std::function<void()>& body) {
    for (unsigned first = 0; first < grid.x; first += together) {
        Peers peers(together);
        std::vector<std::thread> threads;
        for (unsigned rank = 0; rank < together; ++rank)
            threads.emplace_back([&, rank] { run_block(dim3(first + rank), grid, size, shared, body, &peers, rank); });
        for (std::thread& thread : threads) thread.join();
    }
}

// The same for blocks that are to meet and cannot: one runs when the one before has ended.
inline void launch_apart(dim3 grid, dim3 size, size_t shared, const std::function<void()>& body) {
    for (unsigned i = 0; i < grid.x; ++i) run_block(dim3(i), grid, size, shared, body);
}

// A barrier of the whole cluster: a block arrives with the last of its threads, and with the last of them waits for the others.
inline void arrive_blocks() {
    if (++block->arrived_of_cluster < block->live) return;
    block->arrived_of_cluster = 0;
    block->generation_of_cluster = block->peers->arrive();
}
inline void wait_blocks() {
    if (block->cluster.arrived + 1 == block->live) block->peers->wait(block->generation_of_cluster);
    meet(block->cluster, block->live);
}

// Of a place in dynamic shared memory the same one in another block of the cluster.
template <class V>
V* of_rank(V* at, int rank) {
    return reinterpret_cast<V*>(block->peers->shared[rank] + (reinterpret_cast<char*>(at) - block->shared));
}

// Lets the other threads and blocks go on: for who waits for a word in memory.
inline void pause() {
    std::this_thread::yield();
    yield();
}

// Time that this block has been running: who waits for a block that the system has not let run need not give up.
inline uint64_t nanoseconds() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000ull + now.tv_nsec;
}

// What all lanes of the warp give, until the operation after the next. All live lanes must call.
template <class V>
const uint64_t* post(V value) {
    static_assert(sizeof(V) <= 8 && std::is_trivially_copyable<V>::value, "what a shuffle can carry");
    Fiber* const me = block->current;
    Warp& warp = block->warps[me->warp];
    uint64_t* const slots = warp.slots[warp.operations[me->lane]++ % 2];  // two in turn: no second barrier
    memcpy(&slots[me->lane], &value, sizeof value);
    meet(warp.barrier, warp.live);
    return slots;
}

// The value that another lane of the warp gives.
template <class V>
V exchange(unsigned mask, V value, unsigned source) {
    if (mask != 0xffffffffu) abort();  // partial masks are not emulated
    V result;
    memcpy(&result, &post(value)[source % 32], sizeof result);
    return result;
}

// A kernel with its arguments, from the list of pointers that the driver's launch takes.
template <class... A, size_t... I>
std::function<void()> unpack(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    const auto values = std::make_tuple(*static_cast<std::decay_t<A>*>(arguments[I])...);
    return [kernel, values] { std::apply(kernel, values); };
}

template <class... A>
std::function<void()> unpack(void (*kernel)(A...), void** arguments) {
    return unpack(kernel, arguments, std::index_sequence_for<A...>{});
}

}  // namespace emu

#define threadIdx (emu::block->current->thread)
#define blockIdx (emu::block->index)
#define blockDim (emu::block->size)
#define gridDim (emu::block->grid)

inline void __syncthreads() { emu::meet(emu::block->barrier, emu::block->live); }
inline void __syncwarp() { emu::exchange(0xffffffffu, 0, 0); }
template <class V>
V __shfl_xor_sync(unsigned mask, V value, int lanes) {
    return emu::exchange(mask, value, emu::block->current->lane ^ lanes);
}
template <class V>
V __shfl_sync(unsigned mask, V value, int lane) {
    return emu::exchange(mask, value, lane);
}

using std::max;
using std::min;
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<uint64_t>(a) * b >> 32; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline unsigned __float_as_uint(float x) {
    unsigned bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
// Half a unit away from zero; NaN stays what it is.
inline unsigned tg_to_tf32(float x) {
    const unsigned bits = __float_as_uint(x);
    return x == x ? (bits + 0x1000u) & ~0x1fffu : bits;
}
// Of kernels/matrix_tf32.cu, which says what a lane has. The hardware's order of the sum is its own.
inline void tg_mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    unsigned all[6][32];
    for (int k = 0; k < 6; ++k) {
        const uint64_t* const slots = emu::post(k < 4 ? a[k] : b[k - 4]);
        for (int lane = 0; lane < 32; ++lane) memcpy(&all[k][lane], &slots[lane], sizeof(unsigned));
    }
    const int g = emu::block->current->lane / 4, t = emu::block->current->lane % 4;
    for (int q = 0; q < 4; ++q)
        for (int k = 0; k < 8; ++k) {
            const unsigned left = all[k / 4 * 2 + q / 2][g * 4 + k % 4], right = all[4 + k / 4][(2 * t + q % 2) * 4 + k % 4];
            c[q] = fmaf(__uint_as_float(left), __uint_as_float(right), c[q]);
        }
}
inline double sinpi(double x) { return std::sin(x * 3.14159265358979323846); }
inline double cospi(double x) { return std::cos(x * 3.14159265358979323846); }
