// What every step ends with: the norm of the gradient, the clip, an optimiser's step (src/train/update.rs, src/nn/optim.rs).
//
// No host looks at the norm: every block of adam_step adds up the same partial sums in the same order. A gradient or a weight
// that is not finite sets *failed, and from then on no step changes anything, so that the host finds the last good weights
// whenever it looks.
#include "tg_cuda.h"

constexpr int PART = 4096;
constexpr double LARGEST = 1e18;

// g_squares, w_squares (ceil(P/4096)): sums of squares of g and w (P).
// Launch: blocks(ceil(P/4096))
extern "C" __global__ void __launch_bounds__(256) sum_squares(double* g_squares, double* w_squares, const float* g,
                                                              const float* w, int size) {
    double g_sum = 0.0, w_sum = 0.0;
    const int start = blockIdx.x * PART, end = min(size, start + PART);
    for (int i = start + threadIdx.x; i < end; i += blockDim.x) {
        g_sum += (double)g[i] * (double)g[i];
        w_sum += (double)w[i] * (double)w[i];
    }
    g_sum = tg_block_sum(g_sum);
    w_sum = tg_block_sum(w_sum);
    if (threadIdx.x == 0) g_squares[blockIdx.x] = g_sum, w_squares[blockIdx.x] = w_sum;
}

// One step of the Adam family on w (P). settings (12): decay, shrink, beta1, 1 - beta1, beta2, 1 - beta2, rate, v_scale,
// epsilon, adaptive (0 or 1), clip, and what move_average keeps: AdamStep of src/backend/cpu/math.rs but for its scale, which
// the clip gives.
// g_squares, w_squares: what sum_squares made of g and w. norm (1): of the gradient before the clip. failed (1): see above.
// Launch: each(P)
extern "C" __global__ void __launch_bounds__(256) adam_step(float* w, float* m, float* v,      // (P)
                                                            double* norm, int* failed,        // (1)
                                                            const float* g,                   // (P)
                                                            const double* g_squares,          // (ceil(P/4096))
                                                            const double* w_squares,          // (ceil(P/4096))
                                                            const float* settings,            // (12)
                                                            int size) {
    double g_sum = 0.0, w_sum = 0.0;
    const int parts = (size + PART - 1) / PART;
    for (int p = threadIdx.x; p < parts; p += blockDim.x) {
        g_sum += g_squares[p];
        w_sum += w_squares[p];
    }
    g_sum = sqrt(tg_block_sum(g_sum));
    w_sum = sqrt(tg_block_sum(w_sum));
    const double factor = fmin(1.0, (double)settings[10] / (g_sum + 1e-6));
    const bool bad = !(g_sum * factor <= LARGEST && w_sum <= LARGEST);
    const bool stop = bad || *failed;  // where a thread writes it, all of them are bad, and none reads it
    if (tg_index() == 0) {
        *norm = g_sum;
        if (bad) *failed = 1;
    }
    const size_t i = tg_index();
    if (stop || i >= (size_t)size) return;
    const float gradient = fmaf(w[i], settings[0], g[i] * (float)factor);
    const float m1 = fmaf(m[i], settings[2], gradient * settings[3]);
    const float v1 = fmaf(v[i], settings[4], gradient * gradient * settings[5]);
    const float by = settings[9] != 0.0f ? m1 / fmaf(sqrtf(v1), settings[7], settings[8]) : m1;
    w[i] = w[i] * settings[1] - by * settings[6];
    m[i] = m1;
    v[i] = v1;
}

// average (P) = keep average + (1 - keep) w, unless a step has failed.
// Launch: each(P)
extern "C" __global__ void move_average(float* average, const float* w, const float* keep, const int* failed, int size) {
    const size_t i = tg_index();
    if (i >= (size_t)size || *failed) return;
    average[i] = *keep * average[i] + (1.0f - *keep) * w[i];
}
