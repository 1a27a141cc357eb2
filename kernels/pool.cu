// Latent sequence (N,L) -> one row (B,·): the poolers of src/model/pooler.rs. Rows of `pooled` are `stride` apart.
#include "tg_cuda.h"

// share (N) comes as scores and becomes their softmax over each row's steps; pooled (B,L) = sum over t of share h.
// Launch: blocks(B)
extern "C" __global__ void __launch_bounds__(256) attend(float* pooled,                       // (B,L)
                                                         float* share,                        // (N)
                                                         const float* h,                      // (N,L)
                                                         const int* head, const int* offsets, const int* lengths, int width) {
    const int row = blockIdx.x;
    if (row >= head[0]) return;
    const int length = lengths[row];
    double most = -1e300, sum = 0.0;
    for (int t = 0; t < length; ++t) most = fmax(most, (double)share[offsets[t] + row]);
    for (int t = threadIdx.x; t < length; t += blockDim.x) sum += exp((double)share[offsets[t] + row] - most);
    sum = tg_block_sum(sum);
    for (int t = threadIdx.x; t < length; t += blockDim.x) {
        float* const s = share + offsets[t] + row;
        *s = (float)(exp((double)*s - most) / sum);
    }
    __syncthreads();
    for (int j = threadIdx.x; j < width; j += blockDim.x) {
        float y = 0.0f;
        for (int t = 0; t < length; ++t) {
            const size_t n = offsets[t] + row;
            y = fmaf(h[n * width + j], share[n], y);
        }
        pooled[(size_t)row * width + j] = y;
    }
}

// dpooled (B,L) -> dscore (N), and dh (N,L) = share dpooled.
// Launch: blocks(B)
extern "C" __global__ void __launch_bounds__(256) attend_backward(float* dscore,              // (N)
                                                                  float* dh,                  // (N,L)
                                                                  const float* dpooled,       // (B,L)
                                                                  const float* share,         // (N)
                                                                  const float* h,             // (N,L)
                                                                  const int* head, const int* offsets, const int* lengths,
                                                                  int width) {
    const int row = blockIdx.x, lane = threadIdx.x % 32;
    if (row >= head[0]) return;
    const float* const d = dpooled + (size_t)row * width;
    double mean = 0.0;
    for (int t = threadIdx.x / 32; t < lengths[row]; t += blockDim.x / 32) {
        const size_t n = offsets[t] + row;
        float along = 0.0f;
        for (int j = lane; j < width; j += 32) {
            along = fmaf(h[n * width + j], d[j], along);
            dh[n * width + j] = share[n] * d[j];
        }
        along = tg_warp_sum(along);
        if (lane == 0) {
            dscore[n] = along;
            mean += (double)share[n] * (double)along;
        }
    }
    mean = tg_block_sum(mean);
    for (int t = threadIdx.x; t < lengths[row]; t += blockDim.x) {
        const size_t n = offsets[t] + row;
        dscore[n] = share[n] * (dscore[n] - (float)mean);
    }
}

// pooled (B,L) = h at each row's last step
// Launch: each(B*L)
extern "C" __global__ void pool_last(float* pooled, const float* h, const int* head, const int* offsets, const int* lengths,
                                     int width, int stride) {
    const size_t i = tg_index();
    if (i >= (size_t)head[0] * width) return;
    const int row = i / width, j = i % width;
    pooled[(size_t)row * stride + j] = h[(size_t)(offsets[lengths[row] - 1] + row) * width + j];
}

// pooled (B,L) = mean of h over each row's steps
// Launch: each(B*L)
extern "C" __global__ void pool_mean(float* pooled, const float* h, const int* head, const int* offsets, const int* lengths,
                                     int width, int stride) {
    const size_t i = tg_index();
    if (i >= (size_t)head[0] * width) return;
    const int row = i / width, j = i % width;
    float sum = 0.0f;
    for (int t = 0; t < lengths[row]; ++t) sum += h[(size_t)(offsets[t] + row) * width + j];
    pooled[(size_t)row * stride + j] = sum / (float)lengths[row];
}

// pooled (B,L) = the largest h of each row, largest (B,L) its step: the first of equals.
// Launch: each(B*L)
extern "C" __global__ void pool_max(float* pooled, int* largest, const float* h, const int* head, const int* offsets,
                                    const int* lengths, int width, int stride) {
    const size_t i = tg_index();
    if (i >= (size_t)head[0] * width) return;
    const int row = i / width, j = i % width;
    float most = h[(size_t)row * width + j];
    int step = 0;
    for (int t = 1; t < lengths[row]; ++t) {
        const float x = h[(size_t)(offsets[t] + row) * width + j];
        if (x > most) most = x, step = t;
    }
    pooled[(size_t)row * stride + j] = most;
    largest[i] = step;
}

// dh (N,L) = what the last step, the mean and the maximum pass on: each of the three dpooled (B,L) may be NULL.
// Launch: each(N*L)
extern "C" __global__ void pool_backward(float* dh,                                           // (N,L)
                                         const float* dlast, const float* dmean, const float* dmax,  // (B,L)
                                         const int* largest,                                  // (B,L)
                                         const int* head, const int* offsets, const int* lengths, const int* times, int width,
                                         int stride) {
    const size_t i = tg_index();
    if (i >= (size_t)head[2] * width) return;
    const int n = i / width, j = i % width, t = times[n], row = n - offsets[t];
    const size_t at = (size_t)row * stride + j;
    float d = 0.0f;
    if (dlast && t + 1 == lengths[row]) d += dlast[at];
    if (dmean) d += dmean[at] / (float)lengths[row];
    if (dmax && largest[(size_t)row * width + j] == t) d += dmax[at];
    dh[i] = d;
}
