// lstm.cu for H of 64, 96 and 128, with the recurrent weights in registers for all steps: G. Diamos et al., "Persistent RNNs",
// ICML 2016. For small batches, where a step's latency is what counts.
//
// A block is one row and 4 H threads: four neighbouring lanes own a unit. Forward, a lane has a quarter of the unit's inputs for
// all four gates; the quarters meet in three shuffles that leave each lane with one gate. Backward, a lane has one gate's share
// of dh. What the next multiplication needs passes through shared memory in two buffers in turn, so that a step has one barrier.
// The numbers of the next step are asked for before those of this one are used. Of H = 128 two fifths of the weights do not fit
// the registers and stay in shared memory: 101 KB in all, which needs the opt-in and a device that gives a block as much, as those
// of compute capability 8.0, 9.0 and 10.0 do. Where it does not, lstm.cu does the work.
//
// Sums are those of lstm.cu, added up in another order.
#include "tg_cuda.h"

// Weights [4][P] of a thread: the first KEPT of every P in registers, the others in shared memory, one column a thread.
template <int P, int KEPT>
struct Weights {
    float kept[4][KEPT];
    float* others;

    __device__ __forceinline__ void set(int a, int i, float w, int threads) {
        if (i < KEPT)
            kept[a][i < KEPT ? i : 0] = w;
        else
            others[(a * (P - KEPT) + i - KEPT) * threads] = w;
    }

    __device__ __forceinline__ float get(int a, int i, int threads) const {
        return i < KEPT ? kept[a][i < KEPT ? i : 0] : others[(a * (P - KEPT) + i - KEPT) * threads];
    }
};

// A lane's gates from the four lanes of a unit: sum over the lanes of sums[g], for g of this lane.
static __device__ __forceinline__ float scatter_sum(const float (&sums)[4], int lane) {
    const bool odd = lane & 1, high = lane & 2;
    const float low = (odd ? sums[1] : sums[0]) + __shfl_xor_sync(TG_WARP, odd ? sums[0] : sums[1], 1);
    const float top = (odd ? sums[3] : sums[2]) + __shfl_xor_sync(TG_WARP, odd ? sums[2] : sums[3], 1);
    return (high ? top : low) + __shfl_xor_sync(TG_WARP, high ? low : top, 2);
}

template <int H, int KEPT>
static __device__ __forceinline__ void forward(float* gates, float* c, float* h, const float* constant, const float* w_t,
                                               const float* h0, const float* c0, int initial_stride, const int* head,
                                               const int* offsets, const int* lengths) {
    constexpr int P = H / 4;
    alignas(16) __shared__ float sh[2][H];
    TG_SHARED(float, others);
    const int row = blockIdx.x, unit = threadIdx.x / 4, gate = threadIdx.x % 4, base = threadIdx.x % 32 & ~3;
    if (row >= head[0]) return;
    // Input i of this lane is number 16 (i / 4) + 4 gate + i % 4: neighbouring lanes read neighbouring quads.
    Weights<P, KEPT> w;
    w.others = others + threadIdx.x;
    const float* const mine_t = w_t + (size_t)4 * gate * 4 * H + unit;
#pragma unroll
    for (int g = 0; g < 4; ++g)
#pragma unroll
        for (int i = 0; i < P; ++i) w.set(g, i, mine_t[(16 * (i / 4) + i % 4) * 4 * H + g * H], 4 * H);
    float cell = c0 ? c0[(size_t)row * initial_stride + unit] : 0.0f;
    if (gate == 0) sh[0][unit] = h0 ? h0[(size_t)row * initial_stride + unit] : 0.0f;
    const float shift = constant ? constant[(size_t)row * 4 * H + gate * H + unit] : 0.0f;
    const int length = lengths[row];
    float next = gates[(size_t)row * 4 * H + gate * H + unit];
    __syncthreads();
#pragma unroll 1
    for (int t = 0; t < length; ++t) {
        const size_t n = offsets[t] + row;
        const float x = next + shift;
        if (t + 1 < length) next = gates[(size_t)(offsets[t + 1] + row) * 4 * H + gate * H + unit];
        float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        const float4* const quads = reinterpret_cast<const float4*>(sh[t & 1]);
#pragma unroll
        for (int q = 0; q < P / 4; ++q) {
            const float4 y = quads[4 * q + gate];
#pragma unroll
            for (int g = 0; g < 4; ++g) {
                sums[g] = fmaf(w.get(g, 4 * q, 4 * H), y.x, sums[g]);
                sums[g] = fmaf(w.get(g, 4 * q + 1, 4 * H), y.y, sums[g]);
                sums[g] = fmaf(w.get(g, 4 * q + 2, 4 * H), y.z, sums[g]);
                sums[g] = fmaf(w.get(g, 4 * q + 3, 4 * H), y.w, sums[g]);
            }
        }
        const float z = x + scatter_sum(sums, gate);
        const float mine = gate == 2 ? tg_tanh(z) : tg_sigmoid(z);
        gates[n * 4 * H + gate * H + unit] = mine;
        const float in = __shfl_sync(TG_WARP, mine, base), forget = __shfl_sync(TG_WARP, mine, base + 1);
        const float g = __shfl_sync(TG_WARP, mine, base + 2), out = __shfl_sync(TG_WARP, mine, base + 3);
        cell = fmaf(forget, cell, in * g);
        const float y = out * tg_tanh(cell);
        if (gate == 0) sh[(t + 1) & 1][unit] = h[n * H + unit] = y;
        if (gate == 1) c[n * H + unit] = cell;
        __syncthreads();
    }
}

template <int H, int KEPT>
static __device__ __forceinline__ void backward(float* gates, float* dh0, float* dc0, const float* dy, const float* c,
                                                const float* c0, const float* w_hh, int initial_stride, const int* head,
                                                const int* offsets, const int* lengths) {
    constexpr int P = H / 4, SEGMENT = H + 4;  // lanes of a unit read from different banks
    alignas(16) __shared__ float sz[2][4 * SEGMENT];
    TG_SHARED(float, others);
    const int row = blockIdx.x, unit = threadIdx.x / 4, gate = threadIdx.x % 4, base = threadIdx.x % 32 & ~3;
    if (row >= head[0]) return;
    // Weight [a][i] belongs to output a P + i of this lane's gate.
    Weights<P, KEPT> w;
    w.others = others + threadIdx.x;
    const float* const mine_w = w_hh + (size_t)gate * H * H + unit;
#pragma unroll
    for (int a = 0; a < 4; ++a)
#pragma unroll
        for (int i = 0; i < P; ++i) w.set(a, i, mine_w[(a * P + i) * H], 4 * H);
    const float before_all = c0 ? c0[(size_t)row * initial_stride + unit] : 0.0f;
    float recurrent = 0.0f, dc = 0.0f;
    int t = lengths[row] - 1;
    size_t n = offsets[t] + row;
    float mine = gates[n * 4 * H + gate * H + unit], d = dy[n * H + unit], cell = c[n * H + unit];
#pragma unroll 1
    for (; t >= 0; --t) {
        const size_t here = n;
        const float in = __shfl_sync(TG_WARP, mine, base), forget = __shfl_sync(TG_WARP, mine, base + 1);
        const float g = __shfl_sync(TG_WARP, mine, base + 2), out = __shfl_sync(TG_WARP, mine, base + 3);
        const float dh = d + recurrent, tanh_c = tg_tanh(cell), y = mine;
        float before = before_all;
        if (t > 0) {
            n = offsets[t - 1] + row;
            before = c[n * H + unit];
            mine = gates[n * 4 * H + gate * H + unit];
            d = dy[n * H + unit];
        }
        const float dcell = fmaf(dh * out, 1.0f - tanh_c * tanh_c, dc);
        const float slope = gate == 2 ? 1.0f - y * y : y * (1.0f - y);
        const float along = gate == 0 ? dcell * g : gate == 1 ? dcell * before : gate == 2 ? dcell * in : dh * tanh_c;
        const float dz = along * slope;
        gates[here * 4 * H + gate * H + unit] = sz[t & 1][gate * SEGMENT + unit] = dz;
        dc = dcell * forget;
        cell = before;
        __syncthreads();
        float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};  // a chain each: one would be 4 times as long
        const float4* const quads = reinterpret_cast<const float4*>(sz[t & 1] + gate * SEGMENT);
#pragma unroll
        for (int q = 0; q < P / 4; ++q)
#pragma unroll
            for (int a = 0; a < 4; ++a) {
                const float4 x = quads[a * (P / 4) + q];
                sums[a] = fmaf(x.x, w.get(a, 4 * q, 4 * H), sums[a]);
                sums[a] = fmaf(x.y, w.get(a, 4 * q + 1, 4 * H), sums[a]);
                sums[a] = fmaf(x.z, w.get(a, 4 * q + 2, 4 * H), sums[a]);
                sums[a] = fmaf(x.w, w.get(a, 4 * q + 3, 4 * H), sums[a]);
            }
        float sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        sum += __shfl_xor_sync(TG_WARP, sum, 1);
        recurrent = sum + __shfl_xor_sync(TG_WARP, sum, 2);
    }
    if (!dh0 || gate > 0) return;
    dh0[(size_t)row * initial_stride + unit] = recurrent;
    dc0[(size_t)row * initial_stride + unit] = dc;
}

// Arguments as lstm_forward_1 and lstm_backward_1 of lstm.cu, hidden = H.
// Launch: 4 H threads, B blocks, shared 98304 for H = 128
#define LSTM_RESIDENT(name_forward, name_backward, H, kept)                                                                  \
    extern "C" __global__ void __launch_bounds__(4 * H, 1) name_forward(                                                     \
        float* gates, float* c, float* h, const float* constant, const float* w_t, const float* h0, const float* c0,         \
        int initial_stride, const int* head, const int* offsets, const int* lengths, int) {                                  \
        forward<H, kept>(gates, c, h, constant, w_t, h0, c0, initial_stride, head, offsets, lengths);                        \
    }                                                                                                                        \
    extern "C" __global__ void __launch_bounds__(4 * H, 1) name_backward(                                                    \
        float* gates, float* dh0, float* dc0, const float* dy, const float* c, const float* c0, const float* w,              \
        int initial_stride, const int* head, const int* offsets, const int* lengths, int) {                                  \
        backward<H, kept>(gates, dh0, dc0, dy, c, c0, w, initial_stride, head, offsets, lengths);                            \
    }

LSTM_RESIDENT(lstm_forward_h64, lstm_backward_h64, 64, 16)
LSTM_RESIDENT(lstm_forward_h96, lstm_backward_h96, 96, 24)
LSTM_RESIDENT(lstm_forward_h128, lstm_backward_h128, 128, 20)
