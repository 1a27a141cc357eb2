// Spectral norm: SpectralLinear of src/nn/spectral.rs. One block, in double as on the CPU.
//
// A call's norm is normed (1 + O + I): 1 / sigma, then u and v as they were: later calls move them.
#include "tg_cuda.h"

// x (n) /= its length
static __device__ void unit(double* x, int n) {
    double square = 0.0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) square += x[i] * x[i];
    const double length = fmax(sqrt(tg_block_sum(square)), 1e-12);
    for (int i = threadIdx.x; i < n; i += blockDim.x) x[i] /= length;
    __syncthreads();
}

// y (O) = w v. One warp an output.
static __device__ void times(double* y, const float* w, const double* v, int inputs, int outputs, int stride) {
    const int lane = threadIdx.x % 32;
    for (int o = threadIdx.x / 32; o < outputs; o += blockDim.x / 32) {
        double sum = 0.0;
        for (int i = lane; i < inputs; i += 32) sum += (double)w[(size_t)o * stride + i] * v[i];
        sum = tg_warp_sum(sum);
        if (lane == 0) y[o] = sum;
    }
    __syncthreads();
}

// What one call uses. training: u and v advance by one power iteration first.
// Launch: blocks(1), shared 8 (2 O + I)
extern "C" __global__ void __launch_bounds__(256) spectral_normalise(float* normed,           // (1 + O + I)
                                                                     float* u, float* v,      // (O) (I)
                                                                     const float* w,          // (O,I)
                                                                     int inputs, int outputs, int stride, int training) {
    TG_SHARED(double, room);
    double *su = room, *wv = room + outputs, *sv = room + 2 * outputs;
    for (int o = threadIdx.x; o < outputs; o += blockDim.x) su[o] = u[o];
    for (int i = threadIdx.x; i < inputs; i += blockDim.x) sv[i] = v[i];
    __syncthreads();
    if (training) {
        for (int i = threadIdx.x; i < inputs; i += blockDim.x) {
            double sum = 0.0;
            for (int o = 0; o < outputs; ++o) sum += su[o] * (double)w[(size_t)o * stride + i];
            sv[i] = sum;
        }
        unit(sv, inputs);  // whose threads take what they have written
        times(su, w, sv, inputs, outputs, stride);
        unit(su, outputs);
    }
    times(wv, w, sv, inputs, outputs, stride);
    double along = 0.0;
    for (int o = threadIdx.x; o < outputs; o += blockDim.x) along += wv[o] * su[o];
    const double sigma = tg_block_sum(along);
    if (threadIdx.x == 0) normed[0] = 1.0f / (float)sigma;
    for (int o = threadIdx.x; o < outputs; o += blockDim.x) u[o] = normed[1 + o] = (float)su[o];
    for (int i = threadIdx.x; i < inputs; i += blockDim.x) v[i] = normed[1 + outputs + i] = (float)sv[i];
}

// dw (O,I), the gradient of the divided weight -> of the weight itself: grads += dw / sigma - <dw, w> / sigma^2 u v^T
// Launch: blocks(1)
extern "C" __global__ void __launch_bounds__(256) spectral_finish(float* grads,               // (O,I), rows `stride` apart
                                                                  const float* dw,            // (O,I)
                                                                  const float* w,             // (O,I), rows `stride` apart
                                                                  const float* normed,        // (1 + O + I)
                                                                  int inputs, int outputs, int stride) {
    const int size = inputs * outputs;
    double sum = 0.0;
    for (int k = threadIdx.x; k < size; k += blockDim.x)
        sum += (double)dw[k] * (double)w[(size_t)(k / inputs) * stride + k % inputs];
    const float inverse = normed[0], along = (float)tg_block_sum(sum) * inverse * inverse;
    for (int k = threadIdx.x; k < size; k += blockDim.x) {
        const int o = k / inputs, i = k % inputs;
        grads[(size_t)o * stride + i] += dw[k] * inverse - along * normed[1 + o] * normed[1 + outputs + i];
    }
}
