// The autoregressive expander, whole sequences in one launch: Expander::lstm and ::lstm_backward of src/model/expander.rs.
//
// As in lstm.cu a block owns a tile of rows, here through all layers: the output of a step is the input of the next, so layers
// cannot run one after the other. The summary's share of the first layer is constant and comes as `constant`; all gradients of
// weights are matrix_gradient after the backward.
//
// Buffers of all layers lie one behind the other: gates (layers,capacity,4H), c and h (layers,capacity,H), mask
// (layers-1,capacity,H) where capacity is the N of the largest batch. So do weights, in a `stack`: of layer 0 the input's (4H,L)
// and weight_hh (4H,H), of every other layer weight_ih (4H,H) and weight_hh (4H,H). `stack_t` has each transposed.
//
// With gates NULL the forward keeps nothing for a backward: c is (layers,capacity,H) with a row for each of the batch, and h is
// not written.
//
// Tiles of 1, 4 and 16 rows give the same bits: the caller takes the largest that leaves no multiprocessor idle.
//
// Launch: min(512, 4 H rounded up to 32) threads, ceil(B / tile) blocks, shared below.
#include "tg_cuda.h"

// sums[r] += x (R,K) w_t (K,·), at column q
template <int R>
static __device__ __forceinline__ void add_products(float (&sums)[R], const float* x, const float* w_t, int K, int columns,
                                                    int q) {
    for (int k = 0; k < K; ++k) {
        const float w = w_t[(size_t)k * columns + q];
        for (int r = 0; r < R; ++r) sums[r] = fmaf(x[r * K + k], w, sums[r]);
    }
}

template <int R>
static __device__ __forceinline__ void forward(float* y, float* gates, float* c, float* h, const float* constant,
                                               const float* init_h, const float* init_c, const float* stack_t,
                                               const float* biases, const float* out_t, const float* out_bias,
                                               const float* mask, const int* head, const int* offsets, const int* lengths,
                                               int L, int H, int layers, int capacity) {
    TG_SHARED(float, room);
    float *const sy = room, *const sx = sy + R * L, *const sz = sx + R * H, *const sh = sz + 4 * R * H;  // sh (layers,R,H)
    __shared__ int length[R];
    const int first = blockIdx.x * R;
    tile_lengths<R>(length, head, lengths);
    if (length[0] == 0) return;
#pragma unroll 1
    for (int i = threadIdx.x; i < R * L; i += blockDim.x) sy[i] = 0.0f;
#pragma unroll 1
    for (int i = threadIdx.x; i < layers * R * H; i += blockDim.x) {
        const int layer = i / (R * H), r = i / H % R, j = i % H;
        sh[i] = length[r] > 0 ? init_h[((size_t)(first + r) * layers + layer) * H + j] : 0.0f;
    }
    __syncthreads();
#pragma unroll 1
    for (int t = 0; t < length[0]; ++t) {
        const size_t n = offsets[t] + first;
        const size_t now = gates ? n : first, earlier = gates && t > 0 ? offsets[t - 1] + first : first;  // rows of c
        const float* w = stack_t;
#pragma unroll 1
        for (int layer = 0; layer < layers; ++layer) {
            const int inputs = layer ? H : L;
            float *const h_layer = sh + layer * R * H, *const gates_layer = gates + (size_t)layer * capacity * 4 * H;
            float *const c_out = c + (size_t)layer * capacity * H, *const h_out = h + (size_t)layer * capacity * H;
#pragma unroll 1
            for (int q = threadIdx.x; q < 4 * H; q += blockDim.x) {
                float input[R], recurrent[R];
                for (int r = 0; r < R; ++r) input[r] = recurrent[r] = 0.0f;
                add_products<R>(input, layer ? sx : sy, w, inputs, 4 * H, q);
                add_products<R>(recurrent, h_layer, w + (size_t)inputs * 4 * H, H, 4 * H, q);
                for (int r = 0; r < R; ++r) {
                    if (t >= length[r]) continue;
                    float z = layer ? biases[layer * 4 * H + q] : constant[(size_t)(first + r) * 4 * H + q];
                    z = (z + input[r]) + recurrent[r];
                    z = q / H == 2 ? tg_tanh(z) : tg_sigmoid(z);
                    sz[r * 4 * H + q] = z;
                    if (gates) gates_layer[(n + r) * 4 * H + q] = z;
                }
            }
            w += (size_t)(inputs + H) * 4 * H;
            __syncthreads();
#pragma unroll 1
            for (int i = threadIdx.x; i < R * H; i += blockDim.x) {
                const int r = i / H, j = i % H;
                if (t >= length[r]) continue;
                const float* const z = sz + r * 4 * H + j;
                const float before =
                    t > 0 ? c_out[(earlier + r) * H + j] : init_c[((size_t)(first + r) * layers + layer) * H + j];
                const float cell = fmaf(z[H], before, z[0] * z[2 * H]), out = z[3 * H] * tg_tanh(cell);
                c_out[(now + r) * H + j] = cell;
                h_layer[i] = out;
                if (gates) h_out[(n + r) * H + j] = out;
                sx[i] = mask && layer + 1 < layers ? out * mask[((size_t)layer * capacity + n + r) * H + j] : out;
            }
            __syncthreads();
        }
#pragma unroll 1
        for (int o = threadIdx.x; o < L; o += blockDim.x) {
            float sums[R];
            for (int r = 0; r < R; ++r) sums[r] = 0.0f;
            add_products<R>(sums, sx, out_t, H, L, o);
            for (int r = 0; r < R; ++r)
                if (t < length[r]) y[(n + r) * L + o] = sy[r * L + o] = tg_tanh(sums[r] + out_bias[o]);
        }
        __syncthreads();
    }
}

// parts (4,R,K): dz (R,4H) w (4H,K), one part for each gate
template <int R>
static __device__ __forceinline__ void gate_products(float* parts, const float* dz, const float* w, int K, int H) {
#pragma unroll 1
    for (int q = threadIdx.x; q < 4 * K; q += blockDim.x) {
        const int gate = q / K, k = q % K;
        float sums[R];
        for (int r = 0; r < R; ++r) sums[r] = 0.0f;
        for (int j = gate * H; j < gate * H + H; ++j) {
            const float x = w[(size_t)j * K + k];
            for (int r = 0; r < R; ++r) sums[r] = fmaf(dz[r * 4 * H + j], x, sums[r]);
        }
        for (int r = 0; r < R; ++r) parts[(gate * R + r) * K + k] = sums[r];
    }
}

// Sum of the four parts of element i, with n elements a part.
static __device__ __forceinline__ float whole(const float* parts, int i, int n) {
    return (parts[i] + parts[n + i]) + (parts[2 * n + i] + parts[3 * n + i]);
}

template <int R>
static __device__ __forceinline__ void backward(float* dy, float* gates, float* dinit_h, float* dinit_c, const float* y,
                                                const float* c, const float* init_c, const float* stack, const float* out,
                                                const float* mask, const int* head, const int* offsets, const int* lengths,
                                                int L, int H, int layers, int capacity) {
    TG_SHARED(float, room);
    const int wide = max(L, H);
    float *const sd = room, *const feed = sd + R * L, *const sz = feed + R * L;            // (R,L) (R,L) (R,4H)
    float *const parts = sz + 4 * R * H, *const below = parts + 4 * R * H;                 // (4,R,H) (4,R,max(L,H))
    float *const dh = below + 4 * R * wide, *const dc = dh + layers * R * H;               // (layers,R,H) each
    __shared__ int length[R];
    const int first = blockIdx.x * R;
    tile_lengths<R>(length, head, lengths);
    if (length[0] == 0) return;
    const int size = 2 * R * L + 8 * R * H + 4 * R * wide + 2 * layers * R * H;
#pragma unroll 1
    for (int i = threadIdx.x; i < size; i += blockDim.x) room[i] = 0.0f;
    __syncthreads();
#pragma unroll 1
    for (int t = length[0] - 1; t >= 0; --t) {
        const size_t n = offsets[t] + first;
#pragma unroll 1
        for (int i = threadIdx.x; i < R * L; i += blockDim.x) {
            const int r = i / L;
            if (t >= length[r]) continue;  // still zeros
            const size_t at = (n + r) * L + i % L;
            dy[at] = sd[i] = (dy[at] + feed[i]) * (1.0f - y[at] * y[at]);
        }
        __syncthreads();
#pragma unroll 1
        for (int k = threadIdx.x; k < H; k += blockDim.x) {
            float sums[R];
            for (int r = 0; r < R; ++r) sums[r] = 0.0f;
            add_products<R>(sums, sd, out, L, H, k);
            for (int r = 0; r < R; ++r) dh[((layers - 1) * R + r) * H + k] += sums[r];
        }
        __syncthreads();
        const float* w = stack + (size_t)(L + H) * 4 * H + (size_t)(layers - 1) * 8 * H * H;  // one past the last layer's
#pragma unroll 1
        for (int layer = layers - 1; layer >= 0; --layer) {
            const int inputs = layer ? H : L;
            w -= (size_t)(inputs + H) * 4 * H;
            float *const dh_layer = dh + layer * R * H, *const dc_layer = dc + layer * R * H;
            float* const gates_layer = gates + (size_t)layer * capacity * 4 * H;
            const float* const c_layer = c + (size_t)layer * capacity * H;
#pragma unroll 1
            for (int i = threadIdx.x; i < R * H; i += blockDim.x) {
                const int r = i / H, j = i % H;
                if (t >= length[r]) continue;
                const float before = t > 0 ? c_layer[(size_t)(offsets[t - 1] + first + r) * H + j]
                                           : init_c[((size_t)(first + r) * layers + layer) * H + j];
                float *const z = gates_layer + (n + r) * 4 * H + j, *const dz = sz + r * 4 * H + j;
                const float in = z[0], forget = z[H], g = z[2 * H], o = z[3 * H];
                const float tanh_c = tg_tanh(c_layer[(n + r) * H + j]);
                const float dcell = fmaf(dh_layer[i] * o, 1.0f - tanh_c * tanh_c, dc_layer[i]);
                z[0] = dz[0] = dcell * g * (in * (1.0f - in));
                z[H] = dz[H] = dcell * before * (forget * (1.0f - forget));
                z[2 * H] = dz[2 * H] = dcell * in * (1.0f - g * g);
                z[3 * H] = dz[3 * H] = dh_layer[i] * tanh_c * (o * (1.0f - o));
                dc_layer[i] = dcell * forget;
            }
            __syncthreads();
            gate_products<R>(below, sz, w, inputs, H);
            gate_products<R>(parts, sz, w + (size_t)inputs * 4 * H, H, H);
            __syncthreads();
#pragma unroll 1
            for (int i = threadIdx.x; i < R * H; i += blockDim.x) {
                const int r = i / H, j = i % H;
                dh_layer[i] = whole(parts, i, R * H);
                if (layer == 0 || t >= length[r]) continue;
                const float d = whole(below, i, R * H);
                dh_layer[i - R * H] += mask ? d * mask[((size_t)(layer - 1) * capacity + n + r) * H + j] : d;
            }
            if (layer == 0)
#pragma unroll 1
                for (int i = threadIdx.x; i < R * L; i += blockDim.x) feed[i] = whole(below, i, R * L);
            // No barrier: dh, dc and feed are next seen by the threads that wrote them, or behind another barrier.
        }
    }
#pragma unroll 1
    for (int i = threadIdx.x; i < layers * R * H; i += blockDim.x) {
        const int layer = i / (R * H), r = i / H % R, j = i % H;
        if (length[r] == 0) continue;
        dinit_h[((size_t)(first + r) * layers + layer) * H + j] = dh[i];
        dinit_c[((size_t)(first + r) * layers + layer) * H + j] = dc[i];
    }
}

// shared 4 tile (L + (layers + 5) H)
#define EXPANDER_FORWARD(name, tile)                                                                                         \
    extern "C" __global__ void __launch_bounds__(512, 1) name(                                                                  \
        float* y,                                        /* (N,L) */                                                         \
        float* gates, float* c, float* h,                /* (layers,capacity,4H) (layers,capacity,H) twice; or gates NULL */ \
        const float* constant,                           /* (B,4H): layer 0's biases and the summary's share */              \
        const float* init_h, const float* init_c,        /* (B,layers,H) */                                                  \
        const float* stack_t, const float* biases,       /* (layers,4H): both biases added up; layer 0's are not read */     \
        const float* out_t, const float* out_bias,       /* (H,L) (L) */                                                     \
        const float* mask,                               /* (layers-1,capacity,H), or NULL without dropout */                \
        const int* head, const int* offsets, const int* lengths, int latent, int hidden, int layers, int capacity) {         \
        forward<tile>(y, gates, c, h, constant, init_h, init_c, stack_t, biases, out_t, out_bias, mask, head, offsets,       \
                      lengths, latent, hidden, layers, capacity);                                                            \
    }

// dy (N,L): the gradient of y becomes that before tanh; gates become their gradients.
// shared 4 tile (2 L + 4 max(L, H) + (2 layers + 8) H)
#define EXPANDER_BACKWARD(name, tile)                                                                                        \
    extern "C" __global__ void __launch_bounds__(512, 1) name(                                                                  \
        float* dy,                                       /* (N,L) */                                                         \
        float* gates,                                    /* (layers,capacity,4H) */                                          \
        float* dinit_h, float* dinit_c,                  /* (B,layers,H) */                                                  \
        const float* y, const float* c,                  /* (N,L) (layers,capacity,H) */                                     \
        const float* init_c,                             /* (B,layers,H) */                                                  \
        const float* stack, const float* out,            /* out (L,H) */                                                     \
        const float* mask,                               /* (layers-1,capacity,H), or NULL without dropout */                \
        const int* head, const int* offsets, const int* lengths, int latent, int hidden, int layers, int capacity) {         \
        backward<tile>(dy, gates, dinit_h, dinit_c, y, c, init_c, stack, out, mask, head, offsets, lengths, latent, hidden,  \
                       layers, capacity);                                                                                    \
    }

EXPANDER_FORWARD(expander_forward_1, 1)
EXPANDER_FORWARD(expander_forward_4, 4)
EXPANDER_FORWARD(expander_forward_16, 16)
EXPANDER_BACKWARD(expander_backward_1, 1)
EXPANDER_BACKWARD(expander_backward_4, 4)
