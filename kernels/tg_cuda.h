// What all kernels share. Compiles with NVRTC (no CUDA headers), nvcc, and as C++ through tests/emu/shim.h.
//
// Letters: M rows of a batch, N steps of a packed one (src/nn/steps.rs), B rows, T steps, I inputs, O outputs, H hidden.
//
// Sizes of the model come by value. Sizes of the batch at hand are read from device memory, so that one recorded graph
// serves every batch: `rows` points to M. A grid is made for the largest batch; what lies beyond *rows returns first.
// The head of a packed batch is   head[4] = B, T, N, 0   with tables beside it: offsets (T+1) where each step begins,
// lengths (B), times (N) the step that each packed row belongs to.
// clock[4] = seed low, seed high, step low, step high: what Philox needs.
//
// Launch shapes, named above every kernel; n is a number of the largest batch:
//     each(n)      256 threads, ceil(n / 256) blocks       one thread an element
//     warps(n)     128 threads, ceil(n / 4) blocks         one warp a row
//     blocks(n)    256 threads, n blocks
//     columns(n)   32 x 8 threads, ceil(n / 32) blocks     one column of 8 threads a column
// "shared" is dynamic shared memory in bytes; none where it is not named.
//
// Gradients of parameters are added to, those of activations are written. A sum has one order, whatever the grid: the same
// seed gives the same bits. NVRTC compiles with --fmad=false: what is fused is written fmaf.
#pragma once
#if defined(TG_CPU_EMU)
#include "../tests/emu/shim.h"
#else
#if !defined(__CUDACC_RTC__)
#include <cuda_runtime.h>
#endif
// clang-format off
#define TG_SHARED(type, name) extern __shared__ __align__(16) unsigned char tg_shared[]; type* name = reinterpret_cast<type*>(tg_shared)
// clang-format on
#endif

typedef unsigned int tg_u32;
typedef unsigned long long tg_u64;

// What becomes of a result before it is stored.
#define TG_ADD 1    // added to what is there
#define TG_LEAKY 2  // LeakyReLU
#define TG_TANH 4

#define TG_LEAK 0.2f
#define TG_WARP 0xffffffffu

// Index of this thread in an each() launch.
static __device__ __forceinline__ size_t tg_index() { return (size_t)blockIdx.x * blockDim.x + threadIdx.x; }

// s = 2^n and p = e^r - 1 of e^x = 2^n e^r, for -87 <= x <= 88. Here and below the arithmetic is that of src/backend/cpu/lanes.rs,
// but that a quotient is a product with the rounded reciprocal.
static __device__ __forceinline__ void tg_exp_parts(float x, float& s, float& p) {
    const float n = rintf(x * 1.44269504f);
    float r = fmaf(n, -0.693359375f, x);
    r = fmaf(n, 2.12194440e-4f, r);
    float q = 0.0013814599f;
    q = fmaf(q, r, 0.008368717f);
    q = fmaf(q, r, 0.04166839f);
    q = fmaf(q, r, 0.16666521f);
    q = fmaf(q, r, 0.49999994f);
    s = __uint_as_float((tg_u32)((int)n + 127) << 23);
    p = fmaf(q, r * r, r);
}

static __device__ __forceinline__ float tg_exp(float x) {
    float s, p;
    tg_exp_parts(fminf(88.0f, fmaxf(-87.0f, x)), s, p);
    return fmaf(s, p, s);
}

static __device__ __forceinline__ float tg_sigmoid(float x) {
    return x == x ? __frcp_rn(1.0f + tg_exp(-x)) : x;  // fmaxf loses NaN
}

// (e^2x - 1) / (e^2x + 1), the numerator exact near 0, where n is 0.
static __device__ __forceinline__ float tg_tanh(float x) {
    const float a = fabsf(x);
    float s, p;
    tg_exp_parts(fminf(44.0f, a + a), s, p);
    const float less_one = fmaf(s, p, s - 1.0f);
    return x == x ? copysignf(less_one * __frcp_rn(less_one + 2.0f), x) : x;
}

static __device__ __forceinline__ float tg_leaky(float x) { return x > 0.0f ? x : x * TG_LEAK; }

static __device__ __forceinline__ void tg_store(float* to, float y, int flags) {
    if (flags & TG_ADD) y += *to;
    if (flags & TG_LEAKY) y = tg_leaky(y);
    if (flags & TG_TANH) y = tg_tanh(y);
    *to = y;
}

// A block of Philox4x32-10: words of (seed, stream, step, index), as src/rng.rs has them.
static __device__ __forceinline__ uint4 tg_philox(tg_u32 k0, tg_u32 k1, uint4 c) {
    for (int round = 0; round < 10; ++round) {
        const tg_u32 high0 = __umulhi(0xD2511F53u, c.x), low0 = 0xD2511F53u * c.x;
        const tg_u32 high1 = __umulhi(0xCD9E8D57u, c.z), low1 = 0xCD9E8D57u * c.z;
        c = make_uint4(high1 ^ c.y ^ k0, low1, high0 ^ c.w ^ k1, low0);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}

static __device__ __forceinline__ tg_u32 tg_word(uint4 block, int i) {
    return i == 0 ? block.x : i == 1 ? block.y : i == 2 ? block.z : block.w;
}

static __device__ __forceinline__ tg_u64 tg_step(const tg_u32* clock) { return (tg_u64)clock[3] << 32 | clock[2]; }

// Sums over a warp, the same bits in every lane.
static __device__ __forceinline__ float tg_warp_sum(float x) {
    for (int d = 16; d > 0; d >>= 1) x += __shfl_xor_sync(TG_WARP, x, d);
    return x;
}

static __device__ __forceinline__ double tg_warp_sum(double x) {
    for (int d = 16; d > 0; d >>= 1) x += __shfl_xor_sync(TG_WARP, x, d);
    return x;
}

// Sum over a block of up to 1024 threads, the same bits in every thread. Every thread must call; warps of 32.
static __device__ __forceinline__ double tg_block_sum(double x) {
    __shared__ double sums[32];
    x = tg_warp_sum(x);
    __syncthreads();  // the sums of the call before have been read
    if ((threadIdx.x & 31) == 0) sums[threadIdx.x >> 5] = x;
    __syncthreads();
    double sum = 0.0;
    for (int w = 0; w < (int)(blockDim.x >> 5); ++w) sum += sums[w];
    return sum;
}

// Lengths of this block's rows into shared memory, 0 for those beyond the batch. Barrier after it.
template <int R>
static __device__ __forceinline__ void tile_lengths(int (&length)[R], const int* head, const int* lengths) {
    const int row = blockIdx.x * R + threadIdx.x;
    if (threadIdx.x < R) length[threadIdx.x] = row < head[0] ? lengths[row] : 0;
    __syncthreads();
}
