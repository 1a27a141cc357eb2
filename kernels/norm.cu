// Layer normalisation, its reverse, its tangent and the reverse of both: LayerNorm of src/nn/norm.rs. One warp a row.
//
// The gradients of gain and bias are made of dy before it becomes dx.
#include "tg_cuda.h"

constexpr float EPSILON = 1e-5f;
constexpr int CHUNK = 256;  // as in matrix.cu

static __device__ __forceinline__ float mean_of(float lane_sum, int width) { return tg_warp_sum(lane_sum) / (float)width; }

// v (W) <- (v - mean(v) - n mean(n v)) inverse: the Jacobian of n, which is symmetric.
static __device__ __forceinline__ void centre(float* v, const float* n, float inverse, int lane, int width) {
    float along = 0.0f, sum = 0.0f;
    for (int j = lane; j < width; j += 32) {
        along = fmaf(v[j], n[j], along);
        sum += v[j];
    }
    along = mean_of(along, width);
    const float mean = mean_of(sum, width);
    for (int j = lane; j < width; j += 32) v[j] = (v[j] - mean - n[j] * along) * inverse;
}

// x (M,D) -> y = gain n + bias in place, with n = (x - mean) inverse. flags: TG_LEAKY on y.
// Launch: warps(M)
extern "C" __global__ void layer_norm_forward(float* x,                                       // (M,D)
                                              float* normal,                                  // (M,D)
                                              float* inverse,                                 // (M)
                                              const float* gain, const float* bias,           // (D)
                                              const int* rows, int width, int flags) {
    const int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= *rows) return;
    x += (size_t)row * width;
    normal += (size_t)row * width;
    float sum = 0.0f, square = 0.0f;
    for (int j = lane; j < width; j += 32) sum += x[j];
    const float mean = mean_of(sum, width);
    for (int j = lane; j < width; j += 32) square = fmaf(x[j] - mean, x[j] - mean, square);
    const float s = 1.0f / sqrtf(mean_of(square, width) + EPSILON);
    if (lane == 0) inverse[row] = s;
    for (int j = lane; j < width; j += 32) {
        const float n = (x[j] - mean) * s;
        const float y = gain[j] * n + bias[j];
        normal[j] = n;
        x[j] = flags & TG_LEAKY ? tg_leaky(y) : y;
    }
}

// dy (M,D) becomes dx.
// Launch: warps(M)
extern "C" __global__ void layer_norm_backward(float* dy,                                     // (M,D)
                                               const float* normal,                           // (M,D)
                                               const float* inverse,                          // (M)
                                               const float* gain,                             // (D)
                                               const int* rows, int width) {
    const int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= *rows) return;
    dy += (size_t)row * width;
    for (int j = lane; j < width; j += 32) dy[j] *= gain[j];
    centre(dy, normal + (size_t)row * width, inverse[row], lane, width);
}

// dx (M,D), a change of x -> dy (M,D), that of y, and through the LeakyReLU that has left y unless that is NULL; change (M,D):
// that of n.
// Launch: warps(M)
extern "C" __global__ void layer_norm_tangent(float* dy, float* change,                       // (M,D)
                                              const float* dx,                                // (M,D)
                                              const float* normal,                            // (M,D)
                                              const float* inverse,                           // (M)
                                              const float* gain,                              // (D)
                                              const float* y,                                 // (M,D)
                                              const int* rows, int width) {
    const int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= *rows) return;
    const size_t start = (size_t)row * width;
    for (int j = lane; j < width; j += 32) change[start + j] = dx[start + j];
    centre(change + start, normal + start, inverse[row], lane, width);
    for (int j = lane; j < width; j += 32) {
        const float d = change[start + j] * gain[j];
        dy[start + j] = y && !(y[start + j] > 0.0f) ? d * TG_LEAK : d;
    }
}

// The reverse of forward and tangent together. dy (M,D): gradient of y, becomes that of x. dty (M,D): gradient of y's tangent,
// becomes that of x's. tx (M,D): tangent of x as it went in.
//
// With q = gain dty / s, m2 = mean(n tx), k = mean(n q): gradient of tx: q - mean(q) - n k; of n: -q m2 - tx k;
// of s: -sum(gain dty change) / s.
// Launch: warps(M)
extern "C" __global__ void layer_norm_tangent_backward(float* dy, float* dty,                 // (M,D)
                                                       const float* tx,                       // (M,D)
                                                       const float* normal,                   // (M,D)
                                                       const float* change,                   // (M,D)
                                                       const float* inverse,                  // (M)
                                                       const float* gain,                     // (D)
                                                       const int* rows, int width) {
    const int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= *rows) return;
    const size_t start = (size_t)row * width;
    dy += start, dty += start, tx += start, normal += start, change += start;
    const float s = inverse[row];
    float d_deviation = 0.0f, m2 = 0.0f, k = 0.0f;
    for (int j = lane; j < width; j += 32) {
        dty[j] *= gain[j];
        d_deviation -= dty[j] * change[j] * s;
        m2 = fmaf(normal[j], tx[j], m2);
        k = fmaf(normal[j], dty[j] * s, k);
    }
    d_deviation = tg_warp_sum(d_deviation);
    m2 = mean_of(m2, width);
    k = mean_of(k, width);
    for (int j = lane; j < width; j += 32) dy[j] = dy[j] * gain[j] - dty[j] * s * m2 - tx[j] * k;
    centre(dty, normal, s, lane, width);
    centre(dy, normal, s, lane, width);
    const float share = d_deviation / (float)width;  // ds/dx = n / D
    for (int j = lane; j < width; j += 32) dy[j] = fmaf(share, normal[j], dy[j]);
}

// dgain (D) += the columns of dy normal, and of dty change where there was a tangent (NULL, both, where there was none); dbias
// (D) += those of dy. With partials NULL, for M <= 256; else partials (ceil(M/256),D,2) are for matrix_gradient_add, of one
// input. Summed apart first: gradients of opposite calls then cancel exactly.
// Launch: columns(D), ceil(M/256) times in y
extern "C" __global__ void __launch_bounds__(256) layer_norm_gradient(float* partials,        // (ceil(M/256),D,2)
                                                                      float* dgain, float* dbias,                 // (D)
                                                                      const float* dy, const float* normal,       // (M,D)
                                                                      const float* dty, const float* change,      // (M,D)
                                                                      const int* rows, int width) {
    __shared__ float parts[2][8][33];
    const int j = blockIdx.x * 32 + threadIdx.x, first = blockIdx.y * CHUNK, end = min(*rows, first + CHUNK);
    if (first >= *rows) return;
    float gain = 0.0f, bias = 0.0f;
    for (int i = first + threadIdx.y; j < width && i < end; i += 8) {
        const size_t at = (size_t)i * width + j;
        gain = fmaf(dy[at], normal[at], gain);
        if (dty) gain = fmaf(dty[at], change[at], gain);
        bias += dy[at];
    }
    parts[0][threadIdx.y][threadIdx.x] = gain;
    parts[1][threadIdx.y][threadIdx.x] = bias;
    __syncthreads();
    if (threadIdx.y > 0 || j >= width) return;
    for (int p = 1; p < 8; ++p) gain += parts[0][p][threadIdx.x], bias += parts[1][p][threadIdx.x];
    if (partials) {
        float* const to = partials + ((size_t)blockIdx.y * width + j) * 2;
        to[0] = gain, to[1] = bias;
    } else {
        dgain[j] += gain, dbias[j] += bias;
    }
}
