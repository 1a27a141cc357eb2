// One LSTM layer over a whole packed sequence in one launch: LayerTrace::step and ::step_backward of src/nn/lstm.rs, any H.
//
// A block owns a tile of rows and walks through time with their h in shared memory, so blocks never wait for each other. The
// products of the input are one matrix_forward before, all gradients of weights are matrix_gradient after: the backward turns
// the stored gates into their gradients in place. Gate order i f g o. Tiles of 1, 4 and 16 rows give the same bits: the
// caller takes the largest that leaves no multiprocessor idle.
//
// Launch: min(512, 4 H rounded up to 32) threads, ceil(B / tile) blocks, shared below.
#include "tg_cuda.h"

template <int R>
static __device__ __forceinline__ void forward(float* gates, float* c, float* h, const float* constant, const float* w_t,
                                               const float* h0, const float* c0, int initial_stride, const int* head,
                                               const int* offsets, const int* lengths, int H) {
    TG_SHARED(float, room);
    float *const sh = room, *const sz = room + R * H;  // h of the step before (R,H); gates of this one (R,4H)
    __shared__ int length[R];
    const int first = blockIdx.x * R;
    tile_lengths<R>(length, head, lengths);
    if (length[0] == 0) return;
#pragma unroll 1
    for (int i = threadIdx.x; i < R * H; i += blockDim.x) {
        const int r = i / H, j = i % H;
        sh[i] = h0 && length[r] > 0 ? h0[(size_t)(first + r) * initial_stride + j] : 0.0f;
    }
    __syncthreads();
#pragma unroll 1
    for (int t = 0; t < length[0]; ++t) {
        const size_t n = offsets[t] + first;
#pragma unroll 1
        for (int q = threadIdx.x; q < 4 * H; q += blockDim.x) {
            float sums[R];
            for (int r = 0; r < R; ++r) sums[r] = 0.0f;
            for (int k = 0; k < H; ++k) {
                const float w = w_t[(size_t)k * 4 * H + q];
                for (int r = 0; r < R; ++r) sums[r] = fmaf(sh[r * H + k], w, sums[r]);
            }
            for (int r = 0; r < R; ++r) {
                if (t >= length[r]) continue;
                float z = gates[(n + r) * 4 * H + q];
                if (constant) z += constant[(size_t)(first + r) * 4 * H + q];
                z += sums[r];
                z = q / H == 2 ? tg_tanh(z) : tg_sigmoid(z);
                gates[(n + r) * 4 * H + q] = sz[r * 4 * H + q] = z;
            }
        }
        __syncthreads();
#pragma unroll 1
        for (int i = threadIdx.x; i < R * H; i += blockDim.x) {
            const int r = i / H, j = i % H;
            if (t >= length[r]) continue;
            const float* const z = sz + r * 4 * H + j;
            float before = 0.0f;  // this thread wrote it a step ago
            if (t > 0)
                before = c[(size_t)(offsets[t - 1] + first + r) * H + j];
            else if (c0)
                before = c0[(size_t)(first + r) * initial_stride + j];
            const float cell = fmaf(z[H], before, z[0] * z[2 * H]);
            c[(n + r) * H + j] = cell;
            h[(n + r) * H + j] = sh[i] = z[3 * H] * tg_tanh(cell);
        }
        __syncthreads();
    }
}

template <int R>
static __device__ __forceinline__ void backward(float* gates, float* dh0, float* dc0, const float* dy, const float* c,
                                                const float* c0, const float* w, int initial_stride, const int* head,
                                                const int* offsets, const int* lengths, int H) {
    TG_SHARED(float, room);
    // Gradients of the gates (R,4H), of h in four parts, one for each gate (4,R,H), and of c (R,H).
    float *const sz = room, *const parts = room + 4 * R * H, *const sdc = room + 8 * R * H;
    __shared__ int length[R];
    const int first = blockIdx.x * R;
    tile_lengths<R>(length, head, lengths);
    if (length[0] == 0) return;
#pragma unroll 1
    for (int i = threadIdx.x; i < 9 * R * H; i += blockDim.x) room[i] = 0.0f;
    __syncthreads();
#pragma unroll 1
    for (int t = length[0] - 1; t >= 0; --t) {
        const size_t n = offsets[t] + first;
#pragma unroll 1
        for (int i = threadIdx.x; i < R * H; i += blockDim.x) {
            const int r = i / H, j = i % H;
            if (t >= length[r]) continue;  // still zeros
            const float* const part = parts + i;
            const float dh = dy[(n + r) * H + j] + ((part[0] + part[R * H]) + (part[2 * R * H] + part[3 * R * H]));
            float before = 0.0f;
            if (t > 0)
                before = c[(size_t)(offsets[t - 1] + first + r) * H + j];
            else if (c0)
                before = c0[(size_t)(first + r) * initial_stride + j];
            float *const z = gates + (n + r) * 4 * H + j, *const dz = sz + r * 4 * H + j;
            const float in = z[0], forget = z[H], g = z[2 * H], out = z[3 * H], tanh_c = tg_tanh(c[(n + r) * H + j]);
            const float dcell = fmaf(dh * out, 1.0f - tanh_c * tanh_c, sdc[i]);
            z[0] = dz[0] = dcell * g * (in * (1.0f - in));
            z[H] = dz[H] = dcell * before * (forget * (1.0f - forget));
            z[2 * H] = dz[2 * H] = dcell * in * (1.0f - g * g);
            z[3 * H] = dz[3 * H] = dh * tanh_c * (out * (1.0f - out));
            sdc[i] = dcell * forget;
        }
        __syncthreads();
#pragma unroll 1
        for (int q = threadIdx.x; q < 4 * H; q += blockDim.x) {
            const int gate = q / H, k = q % H;
            float sums[R];
            for (int r = 0; r < R; ++r) sums[r] = 0.0f;
            for (int j = gate * H; j < gate * H + H; ++j) {
                const float x = w[(size_t)j * H + k];
                for (int r = 0; r < R; ++r) sums[r] = fmaf(sz[r * 4 * H + j], x, sums[r]);
            }
            for (int r = 0; r < R; ++r) parts[(gate * R + r) * H + k] = sums[r];
        }
        __syncthreads();
    }
    if (!dh0) return;
#pragma unroll 1
    for (int i = threadIdx.x; i < R * H; i += blockDim.x) {
        const int r = i / H, j = i % H;
        if (length[r] == 0) continue;
        const size_t at = (size_t)(first + r) * initial_stride + j;
        dh0[at] = (parts[i] + parts[R * H + i]) + (parts[2 * R * H + i] + parts[3 * R * H + i]);
        dc0[at] = sdc[i];
    }
}

// gates (N,4H) come as the products of the input, biases included where they are not in constant, and become the activated
// gates. constant (B,4H): added at every step, or NULL. h0, c0: states before step 0, or NULL for zeros.
// shared 20 tile H
#define LSTM_FORWARD(name, tile)                                                                                             \
    extern "C" __global__ void __launch_bounds__(512, 1) name(                                                                  \
        float* gates, float* c, float* h,                       /* (N,4H) (N,H) (N,H) */                                     \
        const float* constant,                                  /* (B,4H) */                                                 \
        const float* w_t,                                       /* (H,4H): matrix_transpose of weight_hh */                  \
        const float* h0, const float* c0, int initial_stride,   /* (B,H), rows `initial_stride` apart */                     \
        const int* head, const int* offsets, const int* lengths, int hidden) {                                               \
        forward<tile>(gates, c, h, constant, w_t, h0, c0, initial_stride, head, offsets, lengths, hidden);                   \
    }

// gates (N,4H) become their gradients before activation. dh0, dc0: gradients of the states before step 0, or NULL, both.
// shared 36 tile H
#define LSTM_BACKWARD(name, tile)                                                                                            \
    extern "C" __global__ void __launch_bounds__(512, 1) name(                                                                  \
        float* gates,                                           /* (N,4H) */                                                 \
        float* dh0, float* dc0,                                 /* (B,H), rows `initial_stride` apart */                     \
        const float* dy,                                        /* (N,H) */                                                  \
        const float* c,                                         /* (N,H) */                                                  \
        const float* c0,                                        /* (B,H), rows `initial_stride` apart, or NULL */            \
        const float* w,                                         /* (4H,H): weight_hh */                                      \
        int initial_stride, const int* head, const int* offsets, const int* lengths, int hidden) {                           \
        backward<tile>(gates, dh0, dc0, dy, c, c0, w, initial_stride, head, offsets, lengths, hidden);                       \
    }

LSTM_FORWARD(lstm_forward_1, 1)
LSTM_FORWARD(lstm_forward_4, 4)
LSTM_FORWARD(lstm_forward_16, 16)
LSTM_BACKWARD(lstm_backward_1, 1)
LSTM_BACKWARD(lstm_backward_4, 4)
