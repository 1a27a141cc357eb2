// Embeddings of the closed-loop decoder's classes, and profiles of its heads: Walker::embed and ::scatter of
// src/model/walker.rs, Head::add_profiles and ::profiles_backward of head.rs. classes: classes.h; `which` is the column.
#include "tg_cuda.h"
#include "classes.h"

constexpr int CHUNK = 256;  // rows whose share of a gradient is summed apart: as matrix.cu has it

// to (N,K) = from (N,K) + the embeddings (classes,K) of the classes. to may be from.
// Launch: each(N*K)
extern "C" __global__ void embed(float* to, const float* from, const float* table, const int* classes, int which,
                                 const int* rows, int width) {
    const size_t i = tg_index();
    if (i >= (size_t)*rows * width) return;
    to[i] = from[i] + table[(size_t)classes[TG_CLASSES * (i / width) + which] * width + i % width];
}

// dtable (classes,K) += d (N,K) of the rows of each class, in their order. A block owns a class and 32 columns.
// Launch: 32 x 8 threads, (ceil(K/32), classes) blocks
extern "C" __global__ void __launch_bounds__(256) scatter(float* dtable, const float* d, const int* classes, int which,
                                                          const int* rows, int width) {
    __shared__ float parts[8][33];
    const int j = blockIdx.x * 32 + threadIdx.x, wanted = blockIdx.y;
    float sum = 0.0f;
    if (j < width)
        for (int n = threadIdx.y; n < *rows; n += 8)
            if (classes[TG_CLASSES * (size_t)n + which] == wanted) sum += d[(size_t)n * width + j];
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || j >= width) return;
    for (int p = 1; p < 8; ++p) sum += parts[p][threadIdx.x];
    dtable[(size_t)wanted * width + j] += sum;
}

// Rows (N,W) begin with the logits of `count` classes; the rest are gates. The logits get what the gates let through of their
// profiles, table (gates,2*count-1), around their anchors: classes from column `first` on, each of so many gates.
// Launch: each(N*count)
extern "C" __global__ void add_profiles(float* logits,                                        // (N,W)
                                        const float* table,                                   // (gates,2*count-1)
                                        const int* classes, int first, int each, const int* rows, int count, int width) {
    const size_t i = tg_index();
    if (i >= (size_t)*rows * count) return;
    const size_t n = i / count;
    const int c = i % count, columns = 2 * count - 1, gates = width - count;
    float* const row = logits + n * width;
    const int* anchor = classes + TG_CLASSES * n + first;
    float logit = row[c];
    for (int start = 0; start < gates; start += each, ++anchor) {
        if (*anchor < 0) continue;
        const float* const profile = table + count - 1 - *anchor + c;
        for (int k = start; k < start + each; ++k) logit = fmaf(row[count + k], profile[k * columns], logit);
    }
    row[c] = logit;
}

// The reverse, where the logits have become their gradients and the gates have not: these do now, and dtable gets its own.
// A block owns a gate and 256 rows. With partials NULL, for N <= 256; else partials (ceil(N/256),gates,2*count-1) get the sums
// of 256 rows each, for matrix_gradient_add.
// Launch: 256 threads, (gates, ceil(N/256)) blocks
extern "C" __global__ void __launch_bounds__(256) profiles_backward(float* partials,          // (ceil(N/256),gates,2*count-1)
                                                                    float* dtable,            // (gates,2*count-1)
                                                                    float* logits,            // (N,W)
                                                                    const float* table,       // (gates,2*count-1)
                                                                    const int* classes, int first, int each,
                                                                    const int* rows, int count, int width) {
    __shared__ float gates[CHUNK];
    __shared__ int starts[CHUNK];  // the column that meets the first class; beyond all where there is no anchor
    const int k = blockIdx.x, columns = 2 * count - 1, from = blockIdx.y * CHUNK, size = min(CHUNK, *rows - from);
    if (size <= 0) return;
    float* const d = logits + (size_t)from * width;
    for (int r = threadIdx.x; r < size; r += blockDim.x) {
        const int anchor = classes[TG_CLASSES * (size_t)(from + r) + first + k / each];
        starts[r] = anchor < 0 ? columns : count - 1 - anchor;
        gates[r] = d[(size_t)r * width + count + k];
    }
    __syncthreads();
    for (int j = threadIdx.x; j < columns; j += blockDim.x) {
        float sum = 0.0f;
#pragma unroll 4
        for (int r = 0; r < size; ++r) {
            const int c = j - starts[r];
            if (c >= 0 && c < count) sum = fmaf(gates[r], d[(size_t)r * width + c], sum);
        }
        if (partials)
            partials[((size_t)blockIdx.y * gridDim.x + k) * columns + j] = sum;
        else
            dtable[k * columns + j] += sum;
    }
    for (int r = threadIdx.x / 32; r < size; r += blockDim.x / 32) {
        const int lane = threadIdx.x % 32, start = starts[r];
        float dot = 0.0f;
        for (int c = lane; c < count && start < columns; c += 32)
            dot = fmaf(d[(size_t)r * width + c], table[k * columns + start + c], dot);
        dot = tg_warp_sum(dot);
        if (lane == 0) d[(size_t)r * width + count + k] = dot;
    }
}
