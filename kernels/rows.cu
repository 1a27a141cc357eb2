// Element by element, over matrices (M,W) of a batch.
#include "tg_cuda.h"

// x = value
// Launch: each(M*W)
extern "C" __global__ void fill(float* x, float value, const int* rows, int width) {          // (M,W)
    const size_t i = tg_index();
    if (i >= (size_t)*rows * width) return;
    x[i] = value;
}

// out = x + y. out may be either of them.
// Launch: each(M*W)
extern "C" __global__ void plus(float* out, const float* x, const float* y, const int* rows, int width) {
    const size_t i = tg_index();
    if (i >= (size_t)*rows * width) return;
    out[i] = x[i] + y[i];
}

// out = x * y. out may be either of them. flags: TG_ADD.
// Launch: each(M*W)
extern "C" __global__ void product(float* out, const float* x, const float* y, const int* rows, int width, int flags) {
    const size_t i = tg_index();
    if (i >= (size_t)*rows * width) return;
    out[i] = flags & TG_ADD ? fmaf(x[i], y[i], out[i]) : x[i] * y[i];
}

// to = from
// Launch: each(M*W)
extern "C" __global__ void copy_rows(float* to, const float* from, const int* rows, int width) {  // (M,W) (M,W)
    const size_t i = tg_index();
    if (i >= (size_t)*rows * width) return;
    to[i] = from[i];
}

// to (M,A+B) = the columns of a (M,A), then of b (M,B), or zeros where it is NULL.
// Launch: each(M*(A+B))
extern "C" __global__ void join_columns(float* to, const float* a, const float* b, const int* rows, int a_width, int b_width) {
    const size_t i = tg_index(), width = a_width + b_width, row = i / width, j = i % width;
    if (row >= (size_t)*rows) return;
    to[i] = j < (size_t)a_width ? a[row * a_width + j] : b ? b[row * b_width + j - a_width] : 0.0f;
}

// The reverse: a is written, b is added to. Each may be NULL.
// Launch: each(M*(A+B))
extern "C" __global__ void split_columns(float* a, float* b, const float* from, const int* rows, int a_width, int b_width) {
    const size_t i = tg_index(), width = a_width + b_width, row = i / width, j = i % width;
    if (row >= (size_t)*rows) return;
    if (j < (size_t)a_width) {
        if (a) a[row * a_width + j] = from[i];
    } else if (b) {
        b[row * b_width + j - a_width] += from[i];
    }
}

// x = tanh(x)
// Launch: each(M*W)
extern "C" __global__ void tanh_forward(float* x, const int* rows, int width) {
    const size_t i = tg_index();
    if (i >= (size_t)*rows * width) return;
    x[i] = tg_tanh(x[i]);
}

// dy becomes dx = dy (1 - y^2), for y as tanh left it.
// Launch: each(M*W)
extern "C" __global__ void tanh_backward(float* dy, const float* y, const int* rows, int width) {
    const size_t i = tg_index();
    if (i >= (size_t)*rows * width) return;
    dy[i] *= 1.0f - y[i] * y[i];
}

// dx += weight / M (z - z within +-limit)
// Launch: each(M*W)
extern "C" __global__ void hold_rows(float* dx, const float* z, float weight, float limit, const int* rows, int width) {
    const size_t i = tg_index();
    if (i >= (size_t)*rows * width) return;
    dx[i] += weight / *rows * (z[i] - fminf(fmaxf(z[i], -limit), limit));
}

// Takes the mean over every eight rows (as src/train/shards.rs has them, the last may be fewer) off x, if there are two or more in all.
// Launch: each(ceil(M/8)*W)
extern "C" __global__ void centre_rows(float* x, const int* rows, int width) {                // (M,W)
    const size_t i = tg_index(), first = i / width * 8;
    if (first >= (size_t)*rows || *rows == 1) return;
    const size_t count = *rows - first < 8 ? *rows - first : 8;
    float* column = x + first * width + i % width;
    double sum = 0.0;
    for (size_t r = 0; r < count; ++r) sum += column[r * width];
    const float mean = (float)(sum / count);
    for (size_t r = 0; r < count; ++r) column[r * width] -= mean;
}

// x = x where positive, else 0.2 x
// Launch: each(M*W)
extern "C" __global__ void leaky_relu(float* x, const int* rows, int width) {
    const size_t i = tg_index();
    if (i >= (size_t)*rows * width) return;
    x[i] = tg_leaky(x[i]);
}

// dy becomes dx, for y as leaky_relu left it.
// Launch: each(M*W)
extern "C" __global__ void leaky_relu_backward(float* dy, const float* y, const int* rows, int width) {
    const size_t i = tg_index();
    if (i >= (size_t)*rows * width) return;
    dy[i] = y[i] > 0.0f ? dy[i] : dy[i] * TG_LEAK;
}

// gate = sigmoid(x), active = x gate
// Launch: each(M*W)
extern "C" __global__ void swish(float* active, float* gate, const float* x, const int* rows, int width) {
    const size_t i = tg_index();
    if (i >= (size_t)*rows * width) return;
    gate[i] = tg_sigmoid(x[i]);
    active[i] = x[i] * gate[i];
}

// dx = dactive gate (1 + x (1 - gate)). dx may be dactive.
// Launch: each(M*W)
extern "C" __global__ void swish_backward(float* dx, const float* dactive, const float* x, const float* gate, const int* rows,
                                          int width) {
    const size_t i = tg_index();
    if (i >= (size_t)*rows * width) return;
    dx[i] = dactive[i] * gate[i] * (1.0f + x[i] * (1.0f - gate[i]));
}

// y (M,W) += scale (M) x (M,W), row by row.
// Launch: each(M*W)
extern "C" __global__ void add_scaled_rows(float* y, const float* scale, const float* x, const int* rows, int width) {
    const size_t i = tg_index();
    if (i >= (size_t)*rows * width) return;
    y[i] += scale[i / width] * x[i];
}

// out (M) += x . y, row by row, both (M,W).
// Launch: warps(M)
extern "C" __global__ void add_row_dots(float* out, const float* x, const float* y, const int* rows, int width) {
    const int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= *rows) return;
    float sum = 0.0f;
    for (int j = lane; j < width; j += 32) sum = fmaf(x[(size_t)row * width + j], y[(size_t)row * width + j], sum);
    sum = tg_warp_sum(sum);
    if (lane == 0) out[row] += sum;
}

// to (M,W) = rows chosen (M) of from (n,W).
// Launch: each(M*W)
extern "C" __global__ void gather_rows(float* to, const float* from, const int* chosen, const int* rows, int width) {
    const size_t i = tg_index();
    if (i >= (size_t)*rows * width) return;
    to[i] = from[(size_t)chosen[i / width] * width + i % width];
}
