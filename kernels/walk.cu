// The closed-loop decoder at work: whole walks on the device, with the dice of src/sample/walk.rs.
//
// A block walks with eight rows, all weights from the cache, until all of them have arrived. Numbers of the eight rows are
// neighbours: a thread reads what it multiplies a weight with at once. What a walk has done comes back as events (x px, y px,
// ticks); the host makes points of them, as it does of its own.
#include "tg_cuda.h"
#include "classes.h"

constexpr int ROWS = 8;
constexpr int INPUTS = 13;
constexpr int FEWEST_EVENTS = 2;
constexpr double MOST_STEP = 4096.0;
constexpr int SAMPLE_EVENTS = 15;  // Stream::SampleEvents

// Where a walk stands: Place of src/data/steps.rs.
struct Place {
    int left[2], last[2], time_class, index, done;
    double distance;
};

static __device__ __forceinline__ double length(const int* v) { return sqrt((double)v[0] * v[0] + (double)v[1] * v[1]); }

static __device__ __forceinline__ float squash(int pixels) { return (float)(asinh(pixels / 2.0) / 3.0); }

// x: the row's of (INPUTS,ROWS)
static __device__ void inputs_of(float* x, const Place& place) {
    const double left = length(place.left);
    x[0] = squash(place.left[0]);
    x[1 * ROWS] = squash(place.left[1]);
    x[2 * ROWS] = squash(place.last[0]);
    x[3 * ROWS] = squash(place.last[1]);
    x[4 * ROWS] = place.index == 0 ? 0.0f : (float)(place.time_class / 4.0);
    x[5 * ROWS] = (float)(log1p(left) / 6.0);
    x[6 * ROWS] = (float)(log1p(place.distance) / 6.0);
    x[7 * ROWS] = (float)fmin(place.index / 40.0, 3.0);
    x[8 * ROWS] = place.index == 0 ? 1.0f : 0.0f;
    for (int k = 9; k < INPUTS; ++k) x[k * ROWS] = 0.0f;  // not turned
}

// target (2), or NULL for a row beyond the batch.
static __device__ void start(Place& place, const int* target) {
    place = Place();
    place.done = !target;
    for (int axis = 0; axis < 2 && target; ++axis) place.left[axis] = target[axis];
    place.distance = length(place.left);
}

// The random numbers of an event: two blocks, whatever is drawn from them.
static __device__ void throw_dice(double* dice, const tg_u32* clock, tg_u64 sample, int index) {
    for (int half = 0; half < 2; ++half) {
        const uint4 words = tg_philox(clock[0], clock[1],
                                      make_uint4(2 * index + half, (tg_u32)sample, (tg_u32)(sample >> 32), SAMPLE_EVENTS));
        for (int k = 0; k < 4; ++k) dice[4 * half + k] = tg_word(words, k) / 4294967296.0;
    }
}

// A number of a class, for `unit` in [0,1).
static __device__ __forceinline__ int within(const int* edges, int k, double unit) {
    return edges[k] + (int)((double)(edges[k + 1] - edges[k]) * unit);
}

static __device__ __forceinline__ int step_of(const int* edges, int zero_class, int k, double unit) {
    k -= zero_class;
    const int size = within(edges, abs(k), unit);
    return k < 0 ? -size : k > 0 ? size : 0;
}

// The class of a number from 0 on.
static __device__ int class_of(const int* edges, int classes, int value) {
    int k = 0;
    while (k + 1 < classes && edges[k + 1] <= value) ++k;
    return k;
}

static __device__ __forceinline__ int step_class(const int* edges, int zero_class, int step) {
    const int k = class_of(edges, zero_class + 1, abs(step));
    return zero_class + (step < 0 ? -k : k);
}

// The class of a step that need not be whole.
static __device__ __forceinline__ int nearest_class(const int* edges, int zero_class, double step) {
    return step_class(edges, zero_class, (int)round(fmin(MOST_STEP, fmax(-MOST_STEP, step))));
}

// Anchor k of the next step along an axis, or -1: of x as before and straight; of y, where x (px) is drawn, along the last
// step, along what is left, as before and straight. Place::x_anchors and ::y_anchors, operation by operation.
static __device__ int anchor_of(const Place& place, int axis, int k, int x, const int* edges, int zero_class) {
    double step;
    if (axis == 1 && k < TG_Y_ANCHORS - TG_X_ANCHORS) {
        const int* const way = k == 0 ? place.last : place.left;
        if (x == 0 || way[0] == 0) return -1;
        step = (double)x * way[1] / way[0];
    } else {
        const bool straight = k % TG_X_ANCHORS == 1;
        if (place.index == 0 || (straight && place.left[0] == 0 && place.left[1] == 0)) return -1;
        step = straight ? place.left[axis] * length(place.last) / length(place.left) : place.last[axis];
    }
    return nearest_class(edges, zero_class, step);
}

// A warp adds profiles, table (gates,2*classes-1), to the logits of a row, whose gates are behind them. each: gates of an anchor.
static __device__ void add_row_profiles(float* row, const float* table, const int* anchors, int count, int each, int classes,
                                        int lane) {
#pragma unroll 1
    for (int c = lane; c < classes; c += 32) {
        float logit = row[c];
#pragma unroll 1
        for (int a = 0; a < count; ++a)
            for (int k = a * each; k < (a + 1) * each && anchors[a] >= 0; ++k)
                logit = fmaf(row[classes + k], table[k * (2 * classes - 1) + classes - 1 - anchors[a] + c], logit);
        row[c] = logit;
    }
    __syncwarp();
}

// Whether the next event is the last, which goes to the target, for the logit of that and a number in [0,1). longest: times the step
// before; turned: pixels, where it turns by 90 degrees or more. Not at the target where the recorder reports only changes.
static __device__ bool is_last(const Place& place, float logit, double unit, int most_points, double longest, double turned,
                               int repeats) {
    if (place.index + 2 >= most_points) return true;  // no room for more
    const double x = place.left[0], y = place.left[1], last_x = place.last[0], last_y = place.last[1];
    const double reach = x * last_x + y * last_y > 0.0 ? longest * sqrt(last_x * last_x + last_y * last_y) : turned;
    const bool one_step = sqrt(x * x + y * y) <= reach;
    const bool changes = repeats || x != 0 || y != 0;
    return one_step && changes && place.index + 1 >= FEWEST_EVENTS && unit < 1.0 / (1.0 + exp(-(double)logit));
}

// The place after a drawn step and a class of ticks, which become event (3).
static __device__ void go(Place& place, int* event, const int* step, int drawn_ticks, double unit, const int* tick_edges,
                          int tick_classes) {
    event[0] = step[0], event[1] = step[1], event[2] = max(1, within(tick_edges, drawn_ticks, unit));
    place.time_class = class_of(tick_edges, tick_classes, event[2]);
    for (int axis = 0; axis < 2; ++axis) place.left[axis] -= step[axis], place.last[axis] = step[axis];
    place.index += 1;
}

// One warp draws a class with probability softmax(logits / temperature). weights (classes): room. The same in every lane.
static __device__ int choose(const float* logits, double* weights, int classes, int forbidden, double temperature, double unit,
                             int lane) {
    float most = -3.402823466e38f;
    for (int k = 0; k < classes; ++k)
        if (k != forbidden) most = fmaxf(most, logits[k]);
    for (int k = lane; k < classes; k += 32)
        weights[k] = k == forbidden ? 0.0 : exp((double)(logits[k] - most) / temperature);
    __syncwarp();
    double total = 0.0;
    for (int k = 0; k < classes; ++k) total += weights[k];
    double rest = unit * total;
    int likeliest = 0;
    for (int k = classes - 1; k >= 0; --k)
        if (k != forbidden && logits[k] == most) likeliest = k;
    for (int k = 0; k < classes; ++k) {
        rest -= weights[k];
        if (rest < 0.0) return k;
    }
    return likeliest;  // rounding left a little over
}

// sums[r] += x (K,ROWS) w_t (K,O), at column o
static __device__ __forceinline__ void add_products(float (&sums)[ROWS], const float* x, const float* w_t, int K, int O, int o) {
    const float4* const quads = reinterpret_cast<const float4*>(x);
#pragma unroll 4
    for (int k = 0; k < K; ++k) {
        const float w = w_t[(size_t)k * O + o];
#pragma unroll
        for (int q = 0; q < ROWS / 4; ++q) {
            const float4 four = quads[k * (ROWS / 4) + q];
            sums[4 * q] = fmaf(four.x, w, sums[4 * q]);
            sums[4 * q + 1] = fmaf(four.y, w, sums[4 * q + 1]);
            sums[4 * q + 2] = fmaf(four.z, w, sums[4 * q + 2]);
            sums[4 * q + 3] = fmaf(four.w, w, sums[4 * q + 3]);
        }
    }
}

// y = x (K,ROWS) w_t (K,O) + bias (O): number o of row r at y[r row + o column].
static __device__ void linear(float* y, int row, int column, const float* x, const float* w_t, const float* bias, int K, int O) {
#pragma unroll 1
    for (int o = threadIdx.x; o < O; o += blockDim.x) {
        float sums[ROWS];
        for (int r = 0; r < ROWS; ++r) sums[r] = 0.0f;
        add_products(sums, x, w_t, K, O, o);
        for (int r = 0; r < ROWS; ++r) y[r * row + o * column] = sums[r] + bias[o];
    }
}

// One LSTM layer's step: gates (4H,ROWS) from x (I,ROWS) and h (H,ROWS); h and c become the next. shift (4H), or constant: rows
// of 4H from `first` on, added to the product of the input.
static __device__ void lstm_step(float* gates, float* h, float* c, const float* x, const float* w_t, const float* shift,
                                 const float* constant, int first, int rows, int I, int H) {
#pragma unroll 1
    for (int q = threadIdx.x; q < 4 * H; q += blockDim.x) {
        float sums[ROWS], recurrent[ROWS];
        for (int r = 0; r < ROWS; ++r) sums[r] = recurrent[r] = 0.0f;
        add_products(sums, x, w_t, I, 4 * H, q);
        add_products(recurrent, h, w_t + (size_t)I * 4 * H, H, 4 * H, q);
        for (int r = 0; r < ROWS; ++r) {
            const float add = constant ? constant[(size_t)min(first + r, rows - 1) * 4 * H + q] : shift[q];
            const float z = (sums[r] + add) + recurrent[r];
            gates[q * ROWS + r] = q / H == 2 ? tg_tanh(z) : tg_sigmoid(z);
        }
    }
    __syncthreads();
#pragma unroll 1
    for (int i = threadIdx.x; i < H * ROWS; i += blockDim.x) {
        const float* const z = gates + i;
        c[i] = fmaf(z[H * ROWS], c[i], z[0] * z[2 * H * ROWS]);
        h[i] = z[3 * H * ROWS] * tg_tanh(c[i]);
    }
    __syncthreads();
}

// Walks to targets, until each arrives, with most_points points at the latest. events (B,most_points-1,3); counts (B): events of each walk.
//
// stack_t: as expander.cu has it, with INPUTS in place of L. heads: transposed weights, each with its bias behind it: trunk (H,H)
// (H), stop (H,1) (1), x (H,X+2P) (X+2P), y (H,X+4P) (X+4P), ticks (H,Q) (Q): behind the classes, gates of P profiles for each
// anchor. edges of steps (X/2 + 2) and ticks (Q + 1): those of the codec.
// Row r is sample (clock's step) + r of the clock's seed. X = step_classes, Q = tick_classes, P = profiles; for 0, no tables.
// Launch: blocks(ceil(B/8)) of 256, four on a multiprocessor (for five, ptxas would spill), shared
// 8 (8 max(X, Q)) + 4 * 8 (INPUTS + (2 layers + 6) H + max(X + 4P, Q))
extern "C" __global__ void __launch_bounds__(256, 4) walk(int* events,                           // (B,most_points-1,3)
                                                       int* counts,                           // (B)
                                                       const int* targets,                    // (B,2)
                                                       const float* constant,                 // (B,4H)
                                                       const float* stack_t,
                                                       const float* biases,                   // (layers,4H)
                                                       const float* heads,
                                                       const float* embed_x, const float* embed_y,    // (X,H)
                                                       const float* profiles_x, const float* profiles_y,  // (2P,2X-1) (4P,2X-1)
                                                       const int* step_edges, const int* tick_edges,
                                                       const tg_u32* clock,                   // (4)
                                                       double step_temperature, double time_temperature,
                                                       double landing, double landing_turned, int rows, int hidden,
                                                       int layers, int step_classes, int tick_classes, int repeats,
                                                       int most_points, int profiles) {
    const int H = hidden, most_classes = max(step_classes, tick_classes), zero_class = (step_classes - 1) / 2;
    const int first = blockIdx.x * ROWS, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (first >= rows) return;
    TG_SHARED(double, weights);                                         // (ROWS,most_classes)
    float* const x = (float*)(weights + ROWS * most_classes);           // (INPUTS,ROWS)
    float *const h = x + ROWS * INPUTS, *const c = h + layers * ROWS * H;  // (layers,H,ROWS) each
    float *const gates = c + layers * ROWS * H;                         // (4H,ROWS)
    float *const trunk = gates + 4 * ROWS * H, *const active = trunk + ROWS * H;  // (H,ROWS) each
    float* const logits = active + ROWS * H;                            // (ROWS,max(X+4P,Q)): of a head at a time
    __shared__ Place places[ROWS];
    __shared__ double dice[ROWS][8];
    __shared__ int drawn[ROWS][3], steps[ROWS][2], anchors[ROWS][TG_Y_ANCHORS];

#pragma unroll 1
    for (int i = threadIdx.x; i < 2 * layers * ROWS * H; i += blockDim.x) h[i] = 0.0f;  // h and c
    if (threadIdx.x < ROWS) {
        const int row = first + threadIdx.x;
        start(places[threadIdx.x], row < rows ? targets + 2 * row : nullptr);
    }
    for (;;) {
        if (threadIdx.x < ROWS) {
            const Place& place = places[threadIdx.x];
            inputs_of(x + threadIdx.x, place);
            throw_dice(dice[threadIdx.x], clock, tg_step(clock) + first + threadIdx.x, place.index);
        }
        __syncthreads();
        bool walking = false;
        for (int r = 0; r < ROWS; ++r) walking |= !places[r].done;
        if (!walking) return;

        const float *w = stack_t, *below = x;
#pragma unroll 1
        for (int layer = 0; layer < layers; ++layer) {
            const int inputs = layer ? H : INPUTS;
            float* const out = h + layer * ROWS * H;
            lstm_step(gates, out, c + layer * ROWS * H, below, w, biases + layer * 4 * H, layer ? nullptr : constant, first,
                      rows, inputs, H);
            w += (size_t)(inputs + H) * 4 * H;
            below = out;
        }
        const float* head = heads;
        linear(trunk, 1, ROWS, below, head, head + (size_t)H * H, H, H);
        head += (size_t)H * H + H;
        __syncthreads();
        Place& place = places[warp];
        float stop = 0.0f;  // the logit of the last event, in every lane of the row's warp
        for (int j = lane; j < H; j += 32) stop = fmaf(trunk[j * ROWS + warp], head[j], stop);
        stop = tg_warp_sum(stop) + head[H];
        const bool last = is_last(place, stop, dice[warp][0], most_points, landing, landing_turned, repeats);
        head += H + 1;
        for (int k = 0; k < 3; ++k) {
            const int classes = k < 2 ? step_classes : tick_classes;
            const int around = k == 0 ? TG_X_ANCHORS : k == 1 ? TG_Y_ANCHORS : 0, width = classes + around * profiles;
            if (profiles && lane < around)
                anchors[warp][lane] = anchor_of(place, k, lane, steps[warp][0], step_edges, zero_class);
#pragma unroll 1
            for (int i = threadIdx.x; i < ROWS * H; i += blockDim.x) active[i] = trunk[i] * tg_sigmoid(trunk[i]);
            __syncthreads();
            linear(logits, width, 1, active, head, head + (size_t)H * width, H, width);
            head += (size_t)H * width + width;
            __syncthreads();
            float* const row = logits + warp * width;
            if (profiles && around)
                add_row_profiles(row, k == 0 ? profiles_x : profiles_y, anchors[warp], around, profiles, classes, lane);
            // A recorder that reports only changes never reports no step at all.
            const bool still = k == 1 && !repeats && drawn[warp][0] == zero_class;
            const int mine = choose(row, weights + warp * most_classes, classes, still ? zero_class : -1,
                                    k < 2 ? step_temperature : time_temperature, dice[warp][1 + k], lane);
            if (lane == 0) drawn[warp][k] = last && k < 2 ? step_class(step_edges, zero_class, place.left[k]) : mine;
            if (lane == 0 && k < 2)
                steps[warp][k] = last ? place.left[k] : step_of(step_edges, zero_class, mine, dice[warp][4 + k]);
            __syncthreads();
            if (k == 2) break;
            const float* const table = k == 0 ? embed_x : embed_y;
#pragma unroll 1
            for (int i = threadIdx.x; i < ROWS * H; i += blockDim.x) trunk[i] += table[(size_t)drawn[i % ROWS][k] * H + i / ROWS];
            // No barrier: active is next made by the threads that wrote trunk.
        }
        if (lane == 0 && !place.done) {
            const int row = first + warp;
            go(place, events + ((size_t)row * (most_points - 1) + place.index) * 3, steps[warp], drawn[warp][2], dice[warp][6],
               tick_edges, tick_classes);
            counts[row] = place.index;
            // Only a recorder that repeats positions has events at the target.
            const bool there = place.left[0] == 0 && place.left[1] == 0;
            place.done = (last || !repeats) && there && place.index >= FEWEST_EVENTS;
        }
        __syncthreads();
    }
}
