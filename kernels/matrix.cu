// Products with a weight w (O,I), a block of columns of a tensor whose rows are `stride` apart: Matrix::forward, ::backward
// and ::gradient of src/nn/params.rs.
//
// A block of 16 x 16 threads makes a tile of 32 x 32 results, or of 64 x 64 where there are tiles for all multiprocessors: a
// thread 2 x 2 or 4 x 4 of them. Both sides pass through shared memory, some of the inner dimension at a time, while the next are
// on their way: 64 for small tiles, where few blocks run and every wait for memory shows, else 16. A result is one chain of fused
// multiply-adds in the order of the inner dimension, as on the CPU: neither tile nor grid nor a row's neighbours change its bits.
// A gradient's inner dimension is the batch, which is cut into chunks of 256 rows so that many blocks share the work; the chunks
// are added in order. The gradient of biases, the columns of dy summed, is one column more, which has blocks of its own.
#include "tg_cuda.h"

constexpr int STEP = 16;
constexpr int CHUNK = 256;

// What the thread reads of a matrix x(i,l) = from[i*row + l*column], for a strip of SIDE rows and DEPTH columns: 0 beyond n rows
// and k columns. Neighbouring threads read neighbouring numbers, whichever way the matrix lies.
template <int SIDE, int DEPTH>
struct Strip {
    static constexpr int EACH = SIDE * DEPTH / 256;
    const float* const from;
    const size_t row, column;
    const int n, k;
    float next[EACH];

    __device__ __forceinline__ int i(int e) const { return column == 1 ? (threadIdx.x + 256 * e) / DEPTH : threadIdx.x % SIDE; }
    __device__ __forceinline__ int l(int e) const {
        return column == 1 ? threadIdx.x % DEPTH : (threadIdx.x + 256 * e) / SIDE;
    }
    __device__ __forceinline__ void read(int l0) {
#pragma unroll
        for (int e = 0; e < EACH; ++e)
            next[e] = i(e) < n && l0 + l(e) < k ? from[i(e) * row + (l0 + l(e)) * column] : 0.0f;
    }
    // Rows of shared memory begin 16 bytes on: a thread reads four numbers at once, and few threads meet in a bank.
    __device__ __forceinline__ void put(float (&to)[DEPTH][SIDE + 4]) const {
#pragma unroll
        for (int e = 0; e < EACH; ++e) to[l(e)][i(e)] = next[e];
    }
};

// Q numbers in a row, Q even.
template <int Q>
static __device__ __forceinline__ void take(float (&to)[Q], const float* from) {
    if constexpr (Q == 4) {
        const float4 four = *reinterpret_cast<const float4*>(from);
        to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
    } else {
        const float2 two = *reinterpret_cast<const float2*>(from);
        to[0] = two.x, to[1] = two.y;
    }
}

// a(i,l) = a[i*a_row + l*a_column], likewise b(l,j): the thread's Q x Q sums, of rows Q (threadIdx.x / 16) and columns
// Q (threadIdx.x % 16) on.
template <int Q>
static __device__ __forceinline__ void multiply(float (&sums)[Q][Q], const float* a, size_t a_row, size_t a_column, const float* b,
                                                size_t b_row, size_t b_column, int m, int n, int k) {
    constexpr int DEPTH = Q == 2 ? 4 * STEP : STEP;
    alignas(16) __shared__ float sa[DEPTH][16 * Q + 4], sb[DEPTH][16 * Q + 4];  // (inner, row), (inner, column)
    Strip<16 * Q, DEPTH> left = {a, a_row, a_column, m, k, {}}, right = {b, b_column, b_row, n, k, {}};
    for (int r = 0; r < Q; ++r)
        for (int c = 0; c < Q; ++c) sums[r][c] = 0.0f;
    left.read(0);
    right.read(0);
#pragma unroll 1
    for (int l0 = 0; l0 < k; l0 += DEPTH) {
        left.put(sa);
        right.put(sb);
        __syncthreads();
        if (l0 + DEPTH < k) {
            left.read(l0 + DEPTH);
            right.read(l0 + DEPTH);
        }
#pragma unroll 1
        for (int step = 0; step < DEPTH && l0 + step < k; step += STEP)
#pragma unroll
            for (int l = step; l < step + STEP; ++l) {
                float x[Q], y[Q];
                take(x, &sa[l][threadIdx.x / 16 * Q]);
                take(y, &sb[l][threadIdx.x % 16 * Q]);
#pragma unroll
                for (int r = 0; r < Q; ++r)
#pragma unroll
                    for (int c = 0; c < Q; ++c) sums[r][c] = fmaf(x[r], y[c], sums[r][c]);
            }
        __syncthreads();
    }
}

// f(i, j, sum) for the first m x n results of a tile. They change threads, so that neighbours store neighbouring numbers.
template <int Q, typename F>
static __device__ __forceinline__ void each_result(const float (&sums)[Q][Q], int m, int n, F f) {
    constexpr int SIDE = 16 * Q;
    __shared__ float results[SIDE][SIDE + 1];
    for (int r = 0; r < Q; ++r)
        for (int c = 0; c < Q; ++c) results[threadIdx.x / 16 * Q + r][threadIdx.x % 16 * Q + c] = sums[r][c];
    __syncthreads();
    const int j = threadIdx.x % SIDE;
    if (j >= n) return;
#pragma unroll 1
    for (int i = threadIdx.x / SIDE; i < m; i += 256 / SIDE) f(i, j, results[i][j]);
}

template <int Q>
static __device__ __forceinline__ void forward(float* y, const float* x, const float* w, const float* bias, const float* bias2,
                                               const float* alpha, const int* rows, int inputs, int outputs, int stride,
                                               int flags) {
    constexpr int SIDE = 16 * Q;
    const int i0 = blockIdx.x * SIDE, j0 = blockIdx.y * SIDE;
    if (i0 >= *rows) return;
    const int m = min(SIDE, *rows - i0), n = min(SIDE, outputs - j0);
    float sums[Q][Q];
    multiply(sums, x + (size_t)i0 * inputs, inputs, 1, w + (size_t)j0 * stride, 1, stride, m, n, inputs);
    const float factor = alpha ? *alpha : 1.0f;
    each_result(sums, m, n, [&](int i, int j, float sum) {
        const float shift = (bias ? bias[j0 + j] : 0.0f) + (bias2 ? bias2[j0 + j] : 0.0f);
        tg_store(y + (size_t)(i0 + i) * outputs + j0 + j, factor * sum + shift, flags);
    });
}

template <int Q>
static __device__ __forceinline__ void backward(float* dx, const float* dy, const float* w, const float* alpha, const float* x,
                                                const int* rows, int inputs, int outputs, int stride, int flags) {
    constexpr int SIDE = 16 * Q;
    const int i0 = blockIdx.x * SIDE, j0 = blockIdx.y * SIDE;
    if (i0 >= *rows) return;
    const int m = min(SIDE, *rows - i0), n = min(SIDE, inputs - j0);
    float sums[Q][Q];
    multiply(sums, dy + (size_t)i0 * outputs, outputs, 1, w + j0, stride, 1, m, n, outputs);
    const float factor = alpha ? *alpha : 1.0f;
    each_result(sums, m, n, [&](int i, int j, float sum) {
        const size_t at = (size_t)(i0 + i) * inputs + j0 + j;
        const float slope = x && !(x[at] > 0.0f) ? TG_LEAK : 1.0f;
        tg_store(dx + at, factor * sum * slope, flags);
    });
}

// Number i of output o of a gradient: of a weight, or after these of the biases.
static __device__ __forceinline__ void store_gradient(float* dw, float* db, float* db2, float sum, int o, int i, int inputs,
                                                      int stride, int flags) {
    if (i < inputs) return tg_store(dw + (size_t)o * stride + i, sum, flags);
    db[o] += sum;
    if (db2) db2[o] += sum;
}

// f(i, sum) for the first m columns of dy (k,stride), summed in eight parts whatever SIDE is: one thread a column. Summed apart
// first: gradients of opposite calls then cancel exactly.
template <int SIDE, typename F>
static __device__ __forceinline__ void each_column(const float* dy, int stride, int m, int k, F f) {
    __shared__ float parts[8][SIDE + 1];
    const int i = threadIdx.x % SIDE;
    for (int p = threadIdx.x / SIDE; p < 8; p += 256 / SIDE) {
        float sum = 0.0f;
        for (int l = p; i < m && l < k; l += 8) sum += dy[(size_t)l * stride + i];
        parts[p][i] = sum;
    }
    __syncthreads();
    if ((int)threadIdx.x >= m) return;
    float sum = parts[0][i];
    for (int p = 1; p < 8; ++p) sum += parts[p][i];
    f(i, sum);
}

template <int Q>
static __device__ __forceinline__ void gradient(float* partials, float* dw, float* db, float* db2, const float* dy,
                                                const float* x, const int* rows, int inputs, int outputs, int stride,
                                                int flags) {
    constexpr int SIDE = 16 * Q;
    const int i0 = blockIdx.x * SIDE, j0 = blockIdx.y * SIDE, first = blockIdx.z * CHUNK;
    if (first >= *rows) return;
    const int m = min(SIDE, outputs - i0), n = min(SIDE, inputs - j0), k = min(CHUNK, *rows - first);
    const int columns = inputs + (db ? 1 : 0);
    const auto store = [&](int o, int i, float sum) {
        if (partials)
            partials[((size_t)blockIdx.z * outputs + o) * columns + i] = sum;
        else
            store_gradient(dw, db, db2, sum, o, i, inputs, stride, flags);
    };
    dy += (size_t)first * outputs + i0;
    if (j0 >= inputs) return each_column<SIDE>(dy, outputs, m, k, [&](int i, float sum) { store(i0 + i, inputs, sum); });
    float sums[Q][Q];
    multiply(sums, dy, 1, outputs, x + (size_t)first * inputs + j0, inputs, 1, m, n, k);
    each_result(sums, m, n, [&](int i, int j, float sum) { store(i0 + i, j0 + j, sum); });
}

// y (M,O) = alpha x w^T + bias + bias2. alpha (1), bias (O), bias2 (O): NULL for 1, 0, 0. flags: TG_ADD, TG_LEAKY, TG_TANH.
// Launch: 256 threads, (ceil(M/32), ceil(O/32)) blocks; _wide: 64 instead of 32, here and below.
extern "C" __global__ void __launch_bounds__(256) matrix_forward(
    float* y,            // (M,O)
    const float* x,      // (M,I)
    const float* w,      // (O,I)
    const float* bias,   // (O)
    const float* bias2,  // (O)
    const float* alpha,  // (1)
    const int* rows, int inputs, int outputs, int stride, int flags) {
    forward<2>(y, x, w, bias, bias2, alpha, rows, inputs, outputs, stride, flags);
}
extern "C" __global__ void __launch_bounds__(256) matrix_forward_wide(
    float* y,            // (M,O)
    const float* x,      // (M,I)
    const float* w,      // (O,I)
    const float* bias,   // (O)
    const float* bias2,  // (O)
    const float* alpha,  // (1)
    const int* rows, int inputs, int outputs, int stride, int flags) {
    forward<4>(y, x, w, bias, bias2, alpha, rows, inputs, outputs, stride, flags);
}

// dx (M,I) = alpha dy w, and back through the LeakyReLU that has left x (M,I), unless that is NULL. alpha (1): NULL for 1.
// flags: TG_ADD.
// Launch: 256 threads, (ceil(M/32), ceil(I/32)) blocks
extern "C" __global__ void __launch_bounds__(256) matrix_backward(
    float* dx,           // (M,I)
    const float* dy,     // (M,O)
    const float* w,      // (O,I)
    const float* alpha,  // (1)
    const float* x,      // (M,I)
    const int* rows, int inputs, int outputs, int stride, int flags) {
    backward<2>(dx, dy, w, alpha, x, rows, inputs, outputs, stride, flags);
}
extern "C" __global__ void __launch_bounds__(256) matrix_backward_wide(
    float* dx,           // (M,I)
    const float* dy,     // (M,O)
    const float* w,      // (O,I)
    const float* alpha,  // (1)
    const float* x,      // (M,I)
    const int* rows, int inputs, int outputs, int stride, int flags) {
    backward<4>(dx, dy, w, alpha, x, rows, inputs, outputs, stride, flags);
}

// dw (O,I) = dy^T x, and the biases db, db2 (O) += the sum of dy's rows: both NULL, or db2. With partials NULL, for M <= 256;
// else partials (ceil(M/256),O,I+1), without the 1 where db is NULL, get the sums of 256 rows each, for matrix_gradient_add.
// flags, here and there: TG_ADD for dw += too.
// Launch: 256 threads, (ceil(O/32), ceil(I/32) + 1, ceil(M/256)) blocks, without the 1 where db is NULL
extern "C" __global__ void __launch_bounds__(256) matrix_gradient(
    float* partials,         // (ceil(M/256),O,I+1)
    float* dw,               // (O,I)
    float* db, float* db2,   // (O)
    const float* dy,         // (M,O)
    const float* x,          // (M,I)
    const int* rows, int inputs, int outputs, int stride, int flags) {
    gradient<2>(partials, dw, db, db2, dy, x, rows, inputs, outputs, stride, flags);
}
extern "C" __global__ void __launch_bounds__(256) matrix_gradient_wide(
    float* partials,         // (ceil(M/256),O,I+1)
    float* dw,               // (O,I)
    float* db, float* db2,   // (O)
    const float* dy,         // (M,O)
    const float* x,          // (M,I)
    const int* rows, int inputs, int outputs, int stride, int flags) {
    gradient<4>(partials, dw, db, db2, dy, x, rows, inputs, outputs, stride, flags);
}

// The sum of the partials, in order, to where they belong.
// Launch: each(O*(I+1))
extern "C" __global__ void matrix_gradient_add(float* dw, float* db, float* db2,              // (O,I) (O) (O)
                                               const float* partials,                         // (ceil(M/256),O,I+1)
                                               const int* rows, int inputs, int outputs, int stride, int flags) {
    const int columns = inputs + (db ? 1 : 0);
    const size_t i = tg_index(), size = (size_t)outputs * columns;
    if (i >= size) return;
    float sum = 0.0f;
    for (int c = 0; c * CHUNK < *rows; ++c) sum += partials[c * size + i];
    store_gradient(dw, db, db2, sum, i / columns, i % columns, inputs, stride, flags);
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
