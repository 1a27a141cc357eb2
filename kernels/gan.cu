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
    deviation = sqrt(square / (rows - 1.0));
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
