// Products with a weight w (O,I), a block of columns of a tensor whose rows are `stride` apart: Matrix::forward, ::backward
// and ::gradient of src/nn/params.rs.
//
// A block makes a tile of 32 x 32 results, a thread four of them; both sides pass through shared memory, 32 of the inner
// dimension at a time. A result is one chain of fused multiply-adds in the order of the inner dimension, as on the CPU:
// neither the grid nor a row's neighbours change its bits. A gradient's inner dimension is the batch, which is cut into chunks
// of 256 rows so that many blocks share the work; the chunks are added in order.
#include "tg_cuda.h"

constexpr int TILE = 32;
constexpr int CHUNK = 256;

// a(i,l) = a[i*a_row + l*a_column], likewise b(l,j): sums[q] of rows threadIdx.x/32 + 8q, column threadIdx.x%32 of the tile.
static __device__ __forceinline__ void multiply(float (&sums)[4], const float* a, size_t a_row, size_t a_column, const float* b,
                                                size_t b_row, size_t b_column, int m, int n, int k) {
    __shared__ float sa[TILE][TILE + 1], sb[TILE][TILE + 1];  // (row, inner), (inner, column)
    const int lane = threadIdx.x % TILE, first = threadIdx.x / TILE;
    for (int q = 0; q < 4; ++q) sums[q] = 0.0f;
    for (int l0 = 0; l0 < k; l0 += TILE) {
        for (int q = 0; q < 4; ++q) {
            // Neighbouring threads read neighbouring numbers, whichever way the matrix lies.
            const int other = first + 8 * q;
            const int ai = a_column == 1 ? other : lane, al = a_column == 1 ? lane : other;
            const int bl = b_row == 1 ? lane : other, bj = b_row == 1 ? other : lane;
            sa[ai][al] = ai < m && l0 + al < k ? a[ai * a_row + (l0 + al) * a_column] : 0.0f;
            sb[bl][bj] = bj < n && l0 + bl < k ? b[(l0 + bl) * b_row + bj * b_column] : 0.0f;
        }
        __syncthreads();
        const int end = min(TILE, k - l0);
        for (int l = 0; l < end; ++l) {
            const float y = sb[l][lane];
            for (int q = 0; q < 4; ++q) sums[q] = fmaf(sa[first + 8 * q][l], y, sums[q]);
        }
        __syncthreads();
    }
}

// y (M,O) = alpha x w^T + bias + bias2. alpha (1), bias (O), bias2 (O): NULL for 1, 0, 0. flags: TG_ADD, TG_LEAKY, TG_TANH.
// Launch: 256 threads, (ceil(M/32), ceil(O/32)) blocks.
extern "C" __global__ void __launch_bounds__(256) matrix_forward(float* y,                    // (M,O)
                                                                 const float* x,              // (M,I)
                                                                 const float* w,              // (O,I)
                                                                 const float* bias,           // (O)
                                                                 const float* bias2,          // (O)
                                                                 const float* alpha,          // (1)
                                                                 const int* rows, int inputs, int outputs, int stride,
                                                                 int flags) {
    const int i0 = blockIdx.x * TILE, j0 = blockIdx.y * TILE;
    if (i0 >= *rows) return;
    const int m = min(TILE, *rows - i0), n = min(TILE, outputs - j0);
    float sums[4];
    multiply(sums, x + (size_t)i0 * inputs, inputs, 1, w + (size_t)j0 * stride, 1, stride, m, n, inputs);
    const int j = threadIdx.x % TILE;
    if (j >= n) return;
    const float factor = alpha ? *alpha : 1.0f;
    const float shift = (bias ? bias[j0 + j] : 0.0f) + (bias2 ? bias2[j0 + j] : 0.0f);
    for (int q = 0, i = threadIdx.x / TILE; q < 4; ++q, i += 8)
        if (i < m) tg_store(y + (size_t)(i0 + i) * outputs + j0 + j, factor * sums[q] + shift, flags);
}

// dx (M,I) = alpha dy w. alpha (1): NULL for 1. flags: TG_ADD.
// Launch: 256 threads, (ceil(M/32), ceil(I/32)) blocks.
extern "C" __global__ void __launch_bounds__(256) matrix_backward(float* dx,                  // (M,I)
                                                                  const float* dy,            // (M,O)
                                                                  const float* w,             // (O,I)
                                                                  const float* alpha,         // (1)
                                                                  const int* rows, int inputs, int outputs, int stride,
                                                                  int flags) {
    const int i0 = blockIdx.x * TILE, j0 = blockIdx.y * TILE;
    if (i0 >= *rows) return;
    const int m = min(TILE, *rows - i0), n = min(TILE, inputs - j0);
    float sums[4];
    multiply(sums, dy + (size_t)i0 * outputs, outputs, 1, w + j0, stride, 1, m, n, outputs);
    const int j = threadIdx.x % TILE;
    if (j >= n) return;
    const float factor = alpha ? *alpha : 1.0f;
    for (int q = 0, i = threadIdx.x / TILE; q < 4; ++q, i += 8)
        if (i < m) tg_store(dx + (size_t)(i0 + i) * inputs + j0 + j, factor * sums[q], flags);
}

// partials (ceil(M/256),O,I): dy^T x of 256 rows each, for matrix_gradient_add. With partials NULL and M <= 256: dw += dy^T x.
// Launch: 256 threads, (ceil(O/32), ceil(I/32), ceil(M/256)) blocks.
extern "C" __global__ void __launch_bounds__(256) matrix_gradient(float* partials,            // (ceil(M/256),O,I)
                                                                  float* dw,                  // (O,I)
                                                                  const float* dy,            // (M,O)
                                                                  const float* x,             // (M,I)
                                                                  const int* rows, int inputs, int outputs, int stride) {
    const int i0 = blockIdx.x * TILE, j0 = blockIdx.y * TILE, first = blockIdx.z * CHUNK;
    if (first >= *rows) return;
    const int m = min(TILE, outputs - i0), n = min(TILE, inputs - j0), k = min(CHUNK, *rows - first);
    float sums[4];
    multiply(sums, dy + (size_t)first * outputs + i0, 1, outputs, x + (size_t)first * inputs + j0, inputs, 1, m, n, k);
    const int j = threadIdx.x % TILE;
    if (j >= n) return;
    for (int q = 0, i = threadIdx.x / TILE; q < 4; ++q, i += 8) {
        if (i >= m) continue;
        if (partials)
            partials[((size_t)blockIdx.z * outputs + i0 + i) * inputs + j0 + j] = sums[q];
        else
            dw[(size_t)(i0 + i) * stride + j0 + j] += sums[q];
    }
}

// dw (O,I) += the sum of the partials, in order.
// Launch: each(O*I)
extern "C" __global__ void matrix_gradient_add(float* dw,                                     // (O,I)
                                               const float* partials,                         // (ceil(M/256),O,I)
                                               const int* rows, int inputs, int outputs, int stride) {
    const size_t i = tg_index(), size = (size_t)outputs * inputs;
    if (i >= size) return;
    float sum = 0.0f;
    for (int c = 0; c * CHUNK < *rows; ++c) sum += partials[c * size + i];
    dw[i / inputs * stride + i % inputs] += sum;
}

// to (I,O) = the transpose of w (O,I): what the recurrent kernels read forward.
// Launch: each(O*I)
extern "C" __global__ void matrix_transpose(float* to,                                        // (I,O)
                                            const float* w,                                   // (O,I)
                                            int inputs, int outputs, int stride) {
    const size_t i = tg_index();
    if (i >= (size_t)outputs * inputs) return;
    to[i] = w[i % outputs * stride + i / outputs];
}

// What a block's eight threads of a column have, in order, to the partials of its chunk or to the sums.
static __device__ __forceinline__ void store_column(float* partials, float* sums, float sum, int j, int width) {
    __shared__ float parts[8][33];
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || j >= width) return;
    for (int p = 1; p < 8; ++p) sum += parts[p][threadIdx.x];
    if (partials)
        partials[(size_t)blockIdx.y * width + j] = sum;
    else
        sums[j] += sum;
}

// partials (ceil(M/256),W): the columns of x (M,W), 256 rows each, for matrix_gradient_add. With partials NULL and M <= 256:
// sums (W) += them. Summed apart first: gradients of opposite calls then cancel exactly.
// Launch: columns(W), ceil(M/256) times in y
extern "C" __global__ void __launch_bounds__(256) add_columns(float* partials,                // (ceil(M/256),W)
                                                              float* sums,                    // (W)
                                                              const float* x,                 // (M,W)
                                                              const int* rows, int width) {
    const int j = blockIdx.x * 32 + threadIdx.x, first = blockIdx.y * CHUNK, end = min(*rows, first + CHUNK);
    if (first >= *rows) return;
    float sum = 0.0f;
    if (j < width)
        for (int i = first + threadIdx.y; i < end; i += 8) sum += x[(size_t)i * width + j];
    store_column(partials, sums, sum, j, width);
}

// The same for the columns of x * y, both (M,W): the gradient of a gain.
// Launch: columns(W), ceil(M/256) times in y
extern "C" __global__ void __launch_bounds__(256) add_product_columns(float* partials,        // (ceil(M/256),W)
                                                                      float* sums,            // (W)
                                                                      const float* x,         // (M,W)
                                                                      const float* y,         // (M,W)
                                                                      const int* rows, int width) {
    const int j = blockIdx.x * 32 + threadIdx.x, first = blockIdx.y * CHUNK, end = min(*rows, first + CHUNK);
    if (first >= *rows) return;
    float sum = 0.0f;
    if (j < width)
        for (int i = first + threadIdx.y; i < end; i += 8)
            sum = fmaf(x[(size_t)i * width + j], y[(size_t)i * width + j], sum);
    store_column(partials, sums, sum, j, width);
}
