// Stage 2 between the sweeps: interpolates, the gradient penalty's direction, feature matching (src/model/gan.rs).
#include "tg_cuda.h"

// z_hat = alpha z_real + (1 - alpha) z_fake, row by row
// Launch: each(M*S)
extern "C" __global__ void interpolate(float* z_hat,                                          // (M,S)
                                       const float* z_real, const float* z_fake,              // (M,S)
                                       const float* alpha,                                    // (M)
                                       const int* rows, int width) {
    const size_t i = tg_index();
    if (i >= (size_t)*rows * width) return;
    const float a = alpha[i / width];
    z_hat[i] = a * z_real[i] + (1.0f - a) * z_fake[i];
}

// g (M,S), the scores' gradients -> v = 2 lambda (|g| - 1) g / |g| / M, and penalty (M): shares of the mean of (|g| - 1)^2.
// Launch: warps(M)
extern "C" __global__ void penalty_direction(float* v, double* penalty, const float* g, double lambda, const int* rows,
                                             int width) {
    const int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= *rows) return;
    const size_t start = (size_t)row * width;
    double square = 0.0;
    for (int j = lane; j < width; j += 32) square += (double)g[start + j] * (double)g[start + j];
    const double norm = sqrt(tg_warp_sum(square)), share = 1.0 / *rows;
    if (lane == 0) penalty[row] = (norm - 1.0) * (norm - 1.0) * share;
    const float slope = norm > 0.0 ? (float)(2.0 * lambda * (norm - 1.0) / norm * share) : 0.0f;
    for (int j = lane; j < width; j += 32) v[start + j] = slope * g[start + j];
}

static __device__ __forceinline__ void column_moments(double& mean, double& deviation, const float* z, int rows, int width) {
    mean = 0.0;
    double square = 0.0;
    for (int i = 0; i < rows; ++i) mean += (double)z[(size_t)i * width] / rows;
    for (int i = 0; i < rows; ++i) square += ((double)z[(size_t)i * width] - mean) * ((double)z[(size_t)i * width] - mean);
    deviation = sqrt(square / fmax(rows - 1.0, 1.0));  // of a single row: 0
}

// Mean squared difference of the columns' means and (unbiased) deviations: loss (S) gets every column's share, dz (M,S) is
// added the gradient of weight times the loss.
// Launch: each(S)
extern "C" __global__ void feature_matching(float* dz, double* loss, const float* fake, const float* real, double weight,
                                            const int* rows, int width) {
    const size_t j = tg_index();
    if (j >= (size_t)width) return;
    const double n = *rows, s = width;
    double fake_mean, fake_std, real_mean, real_std;
    column_moments(fake_mean, fake_std, fake + j, *rows, width);
    column_moments(real_mean, real_std, real + j, *rows, width);
    const double mean = fake_mean - real_mean, std = fake_std - real_std;
    loss[j] = (mean * mean + std * std) / s;
    // d mean / dz = 1 / M; d std / dz = (z - mean) / ((M - 1) std)
    double slope = weight * 2.0 * std / s / ((n - 1.0) * fake_std);
    if (!(fabs(slope) < 1e300)) slope = 0.0;  // one row, or all alike
    const double offset = weight * 2.0 * mean / s / n - slope * fake_mean;
    for (int i = 0; i < *rows; ++i) dz[(size_t)i * width + j] += (float)(offset + slope * (double)fake[(size_t)i * width + j]);
}

// chosen (M): rows of a batch, as Stratified::batch of src/data/batches.rs takes them. items: rows of the first bin, then of the
// second; ends (bins): where each ends. Number i of a batch is made of word i of its stream, so that bins need not wait for
// each other. taken: a zero for every row there is, which it is again afterwards.
// Launch: each(bins)
extern "C" __global__ void choose_rows(int* chosen,                                           // (M)
                                       const int* items, const int* ends,
                                       const tg_u32* clock,                                   // (4)
                                       int* taken, const int* rows, int bins, tg_u32 stream, tg_u32 draw) {
    const int k = tg_index();
    if (k >= bins) return;
    const tg_u64 iteration = tg_step(clock), step = iteration << 16 | draw;
    const int share = *rows / bins, rest = *rows % bins;
    const int first = (iteration + draw) * rest % bins;
    int start = 0, count = 0;  // of this bin in the batch
    for (int b = 0; b <= k; ++b) {
        start += count;
        count = share + ((b + bins - first) % bins < rest);
    }
    const int* const bin = items + (k ? ends[k - 1] : 0);
    const int size = items + ends[k] - bin;
    for (int i = start; i < start + count; ++i) {
        const uint4 words = tg_philox(clock[0], clock[1], make_uint4(i / 4, (tg_u32)step, (tg_u32)(step >> 32), stream));
        // With fewer rows than the bin's share any of them again, otherwise each at most once (Floyd's method).
        const int last = size < count ? size - 1 : size - count + i - start;
        int row = bin[(tg_u64)tg_word(words, i % 4) * (last + 1) >> 32];
        if (size >= count && taken[row]) row = bin[last];
        taken[row] = 1;
        chosen[i] = row;
    }
    for (int i = start; i < start + count; ++i) taken[chosen[i]] = 0;
}

// to (W) = what the clock's step has in ring (length,W).
// Launch: each(W)
extern "C" __global__ void take_slot(float* to, const float* ring, const tg_u32* clock, int length, int width) {
    const size_t i = tg_index();
    if (i < (size_t)width) to[i] = ring[tg_step(clock) % length * width + i];
}

// Ends an iteration: its slot of ring (length,8) says last whether a step has failed, and the clock moves on.
// Launch: 1 thread, 1 block
extern "C" __global__ void end_iteration(double* ring, tg_u32* clock, const int* failed, int length) {
    const tg_u64 step = tg_step(clock), next = step + 1;
    ring[step % length * 8 + 7] = *failed;
    clock[2] = (tg_u32)next;
    clock[3] = (tg_u32)(next >> 32);
}
