// Losses and their gradients, and how losses leave the device. Sums are double, in one order.
#include "tg_cuda.h"
#include "classes.h"

// How many events of its walk are still to come at packed step n: none at the last.
static __device__ __forceinline__ int events_left(int n, const int* offsets, const int* lengths, const int* times) {
    const int t = times[n];
    return lengths[n - offsets[t]] - 1 - t;
}

// d (M,W) = (y - target) weight / (M W), and partials (ceil(M*W/1024)): sums of (y - target)^2 / (M W). d or partials may be NULL.
// Launch: blocks(ceil(M*W/1024))
extern "C" __global__ void __launch_bounds__(256) squared_error(float* d, double* partials, const float* y, const float* target,
                                                                float weight, const int* rows, int width) {
    const size_t size = (size_t)*rows * width, start = (size_t)blockIdx.x * 1024;
    if (start >= size) return;
    const float slope = (float)((double)weight / (double)size);
    double sum = 0.0;
    for (size_t i = start + threadIdx.x; i < min(size, start + 1024); i += blockDim.x) {
        const float error = y[i] - target[i];
        sum += (double)error * (double)error;
        if (d) d[i] = error * slope;
    }
    sum = tg_block_sum(sum);
    if (partials && threadIdx.x == 0) partials[blockIdx.x] = sum / (double)size;
}

// Logits (N) of being the last event become the gradients of the mean over N of their cross-entropies, loss (N) those
// entropies' shares; nothing where no event is left.
// Launch: each(N)
extern "C" __global__ void binary_loss(float* logits, double* loss, const int* head, const int* offsets, const int* lengths,
                                       const int* times) {
    const size_t n = tg_index();
    if (n >= (size_t)head[2]) return;
    const int left = events_left(n, offsets, lengths, times);
    if (left == 0) {
        loss[n] = 0.0;
        logits[n] = 0.0f;
        return;
    }
    const bool last = left == 1;
    const double x = logits[n], p = 1.0 / (1.0 + exp(-x)), share = 1.0 / head[2];
    loss[n] = (fmax(x, 0.0) + log1p(exp(-fabs(x))) - (last ? x : 0.0)) * share;
    logits[n] = (float)(last ? p - 1.0 : p) * (float)share;
}

// The same for rows (N,W) that begin with the logits of `count` classes: cross-entropy with column `which` of classes. Where a
// walk's last event goes (which 0 and 1) is known; where nothing is to be learnt the whole row becomes 0.
// Launch: warps(N)
extern "C" __global__ void categorical_loss(float* logits,                                    // (N,W)
                                            double* loss,                                     // (N)
                                            const int* classes, int which,                    // see classes.h
                                            const int* head, const int* offsets, const int* lengths, const int* times,
                                            int count, int width) {
    const int n = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (n >= head[2]) return;
    float* const row = logits + (size_t)n * width;
    if (events_left(n, offsets, lengths, times) < (which < 2 ? 2 : 1)) {
        for (int j = lane; j < width; j += 32) row[j] = 0.0f;
        if (lane == 0) loss[n] = 0.0;
        return;
    }
    float most = row[0];
    for (int j = 1; j < count; ++j) most = fmaxf(most, row[j]);
    const int target = classes[TG_CLASSES * n + which];
    const double hit = (double)row[target] - (double)most, share = 1.0 / head[2];
    __syncwarp();  // all lanes have read the logits that are now replaced
    double sum = 0.0;
    for (int j = lane; j < count; j += 32) {
        const double e = exp((double)row[j] - (double)most);
        sum += e;
        row[j] = (float)e;
    }
    sum = tg_warp_sum(sum);
    if (lane == 0) loss[n] = (log(sum) - hit) * share;
    const float scale = (float)share * (float)(1.0 / sum);
    for (int j = lane; j < count; j += 32) row[j] = row[j] * scale - (j == target ? (float)share : 0.0f);
}

// out (1) = scale sum(x). Of what has `size` = *rows width numbers, there is one x for every `chunk`.  flags: TG_ADD.
// Launch: blocks(1)
extern "C" __global__ void __launch_bounds__(256) sum_doubles(double* out, const double* x, double scale, const int* rows,
                                                              int width, int chunk, int flags) {
    const size_t count = ((size_t)*rows * width + chunk - 1) / chunk;
    double sum = 0.0;
    for (size_t i = threadIdx.x; i < count; i += blockDim.x) sum += x[i];
    sum = tg_block_sum(sum) * scale;
    if (threadIdx.x == 0) *out = flags & TG_ADD ? *out + sum : sum;
}

// out (1) = mean of x (M), times scale. flags: TG_ADD.
// Launch: blocks(1)
extern "C" __global__ void __launch_bounds__(256) mean_floats(double* out, const float* x, double scale, const int* rows,
                                                              int flags) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < *rows; i += blockDim.x) sum += (double)x[i];
    sum = tg_block_sum(sum) / *rows * scale;
    if (threadIdx.x == 0) *out = flags & TG_ADD ? *out + sum : sum;
}

// Sets *failed where one of losses (8) is not finite, and then leaves them in ring (length,8) at the clock's step.
// Launch: 1 thread, 1 block
extern "C" __global__ void store_losses(double* ring, int* failed, const double* losses, const tg_u32* clock, int length) {
    double* const to = ring + tg_step(clock) % length * 8;
    for (int k = 0; k < 8; ++k) {
        if (!(fabs(losses[k]) <= 1.7976931348623157e308)) *failed = 1;
        to[k] = losses[k];
    }
}
