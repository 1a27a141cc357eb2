// The expander of expander.cu over a group of blocks, for small batches: there one multiprocessor would read all weights from
// the second-level cache at every step. A group owns a tile of 4 rows, a block of it U = ceil(H / size) units of every layer
// and ceil(L / size) latents; the weights that these need stay in its shared memory for all steps. What the others need of a
// step, h forward and the gradients of gates backward, goes through an exchange: ByCluster (expander_cluster.cu), where a
// block writes into the shared memory of the others, or ByMemory (expander_group.cu), through global memory. The output of a
// step is computed by every block: that is cheaper than to exchange it.
//
// Numbers of the 4 rows are neighbours, a float4. So are 4 weights of one input, a quad: the gates of a unit forward, 4 units
// or latents backward. The lanes of half a warp share a quad's inputs forward, those of a warp backward. Sums are not those of
// expander.cu: another order.
//
// Arguments are those of expander.cu, and words (groups,2,most + 32), zeros, for ByMemory with most = max(16 H, 4 L); the
// group's size, at most 32; and late (1). A block that waits too long for others, which a device that runs them all at the same
// time never does, sets it and goes on with NaN, and no block waits from then on: an error in place of a device that hangs.
//
// Launch: 256 threads, size * groups blocks that run at the same time (in clusters of `size`, or cooperative).
#include "tg_cuda.h"

constexpr int R = 4;
constexpr int HALF = 16;
constexpr int WHOLE = 32;
constexpr tg_u64 PATIENCE = 2000ull * 1000 * 1000;  // nanoseconds

#if defined(TG_CPU_EMU)
static inline void arrive_cluster() { emu::arrive_blocks(); }
static inline void wait_cluster() { emu::wait_blocks(); }
static inline float* of_rank(float* at, int rank) { return emu::of_rank(at, rank); }
static inline void write_word(tg_u64* at, tg_u64 word) { __atomic_store_n(at, word, __ATOMIC_RELAXED); }
static inline tg_u64 read_word(const tg_u64* at) { return __atomic_load_n(at, __ATOMIC_RELAXED); }
static inline tg_u64 nanoseconds() { return emu::nanoseconds(); }
static inline void pause() { emu::pause(); }
#else
static __device__ __forceinline__ void arrive_cluster() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
static __device__ __forceinline__ void wait_cluster() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
// The same place in the shared memory of another block of the cluster.
static __device__ __forceinline__ float* of_rank(float* at, int rank) {
    tg_u64 there;
    asm("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"((tg_u64)at), "r"(rank));
    return reinterpret_cast<float*>(there);
}
static __device__ __forceinline__ void write_word(tg_u64* at, tg_u64 word) {
    asm volatile("st.relaxed.gpu.u64 [%0], %1;" ::"l"(at), "l"(word) : "memory");
}
static __device__ __forceinline__ tg_u64 read_word(const tg_u64* at) {
    tg_u64 word;
    asm volatile("ld.relaxed.gpu.u64 %0, [%1];" : "=l"(word) : "l"(at) : "memory");
    return word;
}
static __device__ __forceinline__ tg_u64 nanoseconds() {
    tg_u64 now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    return now;
}
static __device__ __forceinline__ void pause() {}
#endif

// Exchanges: `put` gives number i of a buffer that lies at the same place in every block, and after `arrive` and `wait` every
// block has all n numbers. A buffer may be put into again after another such meeting. Between the two a block does what needs no
// other, so that the way of the numbers costs less; and it is then that it stores what only later kernels read, because to arrive
// is to wait until what was stored before can be seen by all.
struct ByCluster {
    int size;

    __device__ __forceinline__ ByCluster(tg_u64*, int, int size, int*) : size(size) {}

    // share of 4: of lanes that all have the value, each writes it to some of the blocks. 0 of 1 writes it to all.
    __device__ __forceinline__ void put(float* to, int i, float value, int share, int of) {
        for (int rank = share; rank < size; rank += of) *of_rank(to + i, rank) = value;
    }

    __device__ __forceinline__ void arrive() { arrive_cluster(); }
    __device__ __forceinline__ void wait(float*, int) { wait_cluster(); }
};

// A word is a number and the count of meetings, so that who reads it knows whether it is new: L. Lamport, "Concurrent reading and
// writing", 1977. Two buffers in turn: who writes one again has had a word of everybody in the other, which was written after
// the first had been read. So every block gives one that says nothing else: it may have no number to give.
struct ByMemory {
    tg_u64* words;
    int most, size;
    int* late;
    tg_u32 count;
    bool waits;

    __device__ __forceinline__ ByMemory(tg_u64* words, int most, int size, int* late)
        : words(words + (size_t)(blockIdx.x / size) * 2 * (most + WHOLE)), most(most), size(size), late(late), count(1), waits(true) {}

    __device__ __forceinline__ tg_u64* place(int i) const { return words + (count & 1) * (most + WHOLE) + i; }

    __device__ __forceinline__ void write(int i, float value) const {
        write_word(place(i), (tg_u64)count << 32 | __float_as_uint(value));
    }

    __device__ __forceinline__ void put(float*, int i, float value, int share, int) {
        if (share == 0) write(i, value);
    }

    __device__ __forceinline__ void arrive() {
        if (threadIdx.x == 0) write(most + blockIdx.x % size, 0.0f);
    }

    __device__ __forceinline__ void wait(float* to, int n) {
#pragma unroll 1
        for (int i = threadIdx.x; i < n; i += blockDim.x) to[i] = await(place(i));
        const int peer = threadIdx.x;
        if (peer < size) await(place(most + peer));
        ++count;
        __syncthreads();
    }

    __device__ __forceinline__ float await(const tg_u64* at) {
        tg_u64 word = read_word(at), until = 0;
        // Time also passes while the device stands still, for a debugger or a paused machine: only a second wait is too long.
#pragma unroll 1
        for (tg_u32 polls = 0, waited = 0; (tg_u32)(word >> 32) != count && waits; word = read_word(at)) {
            pause();
            if (++polls % 1024) continue;
            const tg_u64 now = nanoseconds();
            if (now > until) {
                if (waited++ == 2) *(volatile int*)late = 1;
                until = now + PATIENCE;
            }
            waits = !*(volatile int*)late;
        }
        return waits ? __uint_as_float((tg_u32)word) : __uint_as_float(0x7fc00000u);
    }
};

// sums[4 r + o] += the lane's share of x (K) w (K), rows r, outputs o
template <int LANES>
static __device__ __forceinline__ void add_quad(float (&sums)[16], const float4* w, const float4* x, int K, int lane) {
#pragma unroll 2
    for (int k = lane; k < K; k += LANES) {
        const float4 a = w[k], b = x[k];
        const float rows[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
        for (int r = 0; r < R; ++r) {
            sums[4 * r] = fmaf(rows[r], a.x, sums[4 * r]);
            sums[4 * r + 1] = fmaf(rows[r], a.y, sums[4 * r + 1]);
            sums[4 * r + 2] = fmaf(rows[r], a.z, sums[4 * r + 2]);
            sums[4 * r + 3] = fmaf(rows[r], a.w, sums[4 * r + 3]);
        }
    }
}

template <int D>
static __device__ __forceinline__ void halve(float (&sums)[16], int lane) {
    const bool high = lane & D;
#pragma unroll
    for (int i = 0; i < D; ++i) {
        const float send = high ? sums[i] : sums[i + D], keep = high ? sums[i + D] : sums[i];
        sums[i] = keep + __shfl_xor_sync(TG_WARP, send, D);
    }
}

// Sum over the lanes of sums[lane % 16].
template <int LANES>
static __device__ __forceinline__ float scatter_sum(float (&sums)[16], int lane) {
    halve<8>(sums, lane);
    halve<4>(sums, lane);
    halve<2>(sums, lane);
    halve<1>(sums, lane);
    return LANES == WHOLE ? sums[0] + __shfl_xor_sync(TG_WARP, sums[0], HALF) : sums[0];
}

static __device__ __forceinline__ void clear(float (&sums)[16]) {
#pragma unroll
    for (int i = 0; i < 16; ++i) sums[i] = 0.0f;
}

static __device__ __forceinline__ float4 four(const float* w, size_t stride, int there) {
    return make_float4(there > 0 ? w[0] : 0.0f, there > 1 ? w[stride] : 0.0f, there > 2 ? w[2 * stride] : 0.0f,
                       there > 3 ? w[3 * stride] : 0.0f);
}

// Lengths of a tile's rows, 0 beyond the batch.
static __device__ __forceinline__ void lengths_of(int (&length)[R], int first, const int* head, const int* lengths) {
    __syncthreads();  // those of the tile before have been read
    const int r = threadIdx.x;
    if (r < R) length[r] = first + r < head[0] ? lengths[first + r] : 0;
    __syncthreads();
}

template <class Exchange>
static __device__ __forceinline__ void meet(Exchange& exchange) {
    exchange.arrive();
    exchange.wait(nullptr, 0);
}

template <class Exchange>
static __device__ __forceinline__ void forward(float* y, float* gates, float* c, float* h, const float* constant,
                                               const float* init_h, const float* init_c, const float* stack_t,
                                               const float* biases, const float* out_t, const float* out_bias,
                                               const float* mask, const int* head, const int* offsets, const int* lengths,
                                               int L, int H, int layers, int capacity, tg_u64* words, int size, int* late) {
    TG_SHARED(float4, room);
    __shared__ int length[R];
    const int U = (H + size - 1) / size, quads = (L + 3) / 4, rank = blockIdx.x % size, unit0 = rank * U;
    const int lane = threadIdx.x % HALF, team = threadIdx.x / HALF, teams = blockDim.x / HALF;
    const int row = lane / 4, gate = lane % 4, base = threadIdx.x % 32 & ~3;
    // Of every layer the input's weights (U,inputs) and the recurrent ones (U,H); of the output (quads,H).
    float4 *const weights = room, *const out = weights + U * (L + H + (layers - 1) * 2 * H);
    float4 *const sh = out + quads * H, *const sx = sh + 2 * layers * H, *const sy = sx + H;  // (2,layers,H) (H) (4 quads)
    float* const sc = reinterpret_cast<float*>(sy + 4 * quads);                               // (layers,U,R)
    Exchange exchange(words, max(16 * H, 4 * L), size, late);
    const float* from = stack_t;
    float4* to = weights;
#pragma unroll 1
    for (int part = 0; part < 2 * layers; ++part) {
        const int K = part ? H : L;
#pragma unroll 1
        for (int i = threadIdx.x; i < U * K; i += blockDim.x) {
            const int unit = unit0 + i / K;
            to[i] = four(from + (size_t)(i % K) * 4 * H + unit, H, unit < H ? 4 : 0);
        }
        from += (size_t)K * 4 * H;
        to += U * K;
    }
#pragma unroll 1
    for (int i = threadIdx.x; i < quads * H; i += blockDim.x)
        out[i] = four(out_t + (size_t)(i % H) * L + i / H * 4, 1, L - i / H * 4);
    const auto addend = [&](int layer, int r, int q) { return layer ? biases[layer * 4 * H + q] : constant[(size_t)r * 4 * H + q]; };
#pragma unroll 1
    for (int first = blockIdx.x / size * R; first < head[0]; first += gridDim.x / size * R) {
        lengths_of(length, first, head, lengths);
#pragma unroll 1
        for (int i = threadIdx.x; i < layers * H * R; i += blockDim.x) {
            const int r = i % R, j = i / R % H, layer = i / (R * H);
            const size_t at = ((size_t)(first + r) * layers + layer) * H + j;
            reinterpret_cast<float*>(sh)[i] = length[r] > 0 ? init_h[at] : 0.0f;
            if (j >= unit0 && j < unit0 + U) sc[(layer * U + j - unit0) * R + r] = length[r] > 0 ? init_c[at] : 0.0f;
        }
#pragma unroll 1
        for (int i = threadIdx.x; i < 4 * quads; i += blockDim.x) sy[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        meet(exchange);
        const auto mask_of = [&](int offset, int i, int t, int layer) {
            const size_t at = (size_t)layer * capacity + offset + first + i % R;
            return i < R * H && t < length[i % R] ? mask[at * H + i / R] : 0.0f;
        };
        // Of the team's first unit in the next layer, or in the first of the next step: its recurrent sums, and what is added to them.
        float ahead[16], add = 0.0f;
        const bool first_mine = team < U && unit0 + team < H, more = layers > 1;
        const auto look_ahead = [&](int layer, const float4* w, const float4* x) {
            clear(ahead);
            add_quad<HALF>(ahead, w + min(team, U - 1) * H, x, H, lane);
            if (first_mine && length[row] > 0) add = addend(layer, first + row, gate * H + unit0 + team);
        };
        look_ahead(0, weights + U * L, sh);
        const float first_bias = 4 * team + gate < L ? out_bias[4 * team + gate] : 0.0f;
        int next_offset = offsets[0];
#pragma unroll 1
        for (int t = 0; t < length[0]; ++t) {
            const int offset = next_offset;
            if (t + 1 < length[0]) next_offset = offsets[t + 1];
            const size_t n = offset + first + row;
            const bool running = t < length[row];
            const float4 *const before = sh + (t & 1) * layers * H, *w = weights;
            float4* const now = sh + (~t & 1) * layers * H;
#pragma unroll 1
            for (int layer = 0; layer < layers; ++layer) {
                const int K = layer ? H : L;
                const float4* const x = !layer ? sy : mask ? sx : now + (layer - 1) * H;
                const size_t here = (size_t)layer * capacity + n;
                float z = 0.0f, cell = 0.0f, result = 0.0f;
                int unstored = -1;  // the unit whose numbers these are
                const auto store = [&] {
                    if (unstored < 0) return;
                    gates[here * 4 * H + gate * H + unstored] = z;
                    if (gate == 0) c[here * H + unstored] = cell, h[here * H + unstored] = result;
                    unstored = -1;
                };
#pragma unroll 1
                for (int u0 = 0; u0 < U; u0 += teams) {
                    const int u = min(u0 + team, U - 1), unit = unit0 + u;
                    const bool mine = u0 + team < U && unit < H;
                    store();
                    if (u0 > 0) {
                        clear(ahead);
                        add_quad<HALF>(ahead, w + U * K + u * H, before + layer * H, H, lane);
                        if (mine && running) add = addend(layer, first + row, gate * H + unit);
                    }
                    add_quad<HALF>(ahead, w + u * K, x, K, lane);
                    z = scatter_sum<HALF>(ahead, lane) + add;
                    z = gate == 2 ? tg_tanh(z) : tg_sigmoid(z);
                    const float earlier = mine ? sc[(layer * U + u) * R + row] : 0.0f;
                    const float in = __shfl_sync(TG_WARP, z, base), forget = __shfl_sync(TG_WARP, z, base + 1);
                    const float g = __shfl_sync(TG_WARP, z, base + 2), o = __shfl_sync(TG_WARP, z, base + 3);
                    cell = fmaf(forget, earlier, in * g);
                    result = running ? o * tg_tanh(cell) : 0.0f;
                    __syncwarp();  // all have read sc before one writes it
                    if (!mine) continue;
                    exchange.put(reinterpret_cast<float*>(now + layer * H), unit * R + row, result, gate, 4);
                    if (!running) continue;
                    unstored = unit;
                    if (gate == 0) sc[(layer * U + u) * R + row] = cell;
                }
                w += U * (K + H);
                exchange.arrive();
                store();
                const bool last = layer + 1 == layers, dropped = mask && !last;
                const float4* const next = last ? weights + U * L : w + U * H;
                const float4* const known = last ? now : before + (layer + 1) * H;
                if (more) look_ahead(last ? 0 : layer + 1, next, known);
                float kept[2];  // what two numbers for each thread are multiplied with: all there are for 128 units
#pragma unroll
                for (int k = 0; k < 2; ++k) kept[k] = dropped ? mask_of(offset, threadIdx.x + k * blockDim.x, t, layer) : 0.0f;
                exchange.wait(reinterpret_cast<float*>(now + layer * H), R * H);
                if (!more) look_ahead(0, next, known);
                if (!dropped) continue;
#pragma unroll 1
                for (int i = threadIdx.x, k = 0; i < R * H; i += blockDim.x, ++k) {
                    const float by = k == 0 ? kept[0] : k == 1 ? kept[1] : mask_of(offset, i, t, layer);
                    reinterpret_cast<float*>(sx)[i] = reinterpret_cast<const float*>(now + layer * H)[i] * by;
                }
                __syncthreads();
            }
#pragma unroll 1
            for (int q0 = 0; q0 < quads; q0 += teams) {
                const int q = min(q0 + team, quads - 1), o = 4 * q + gate;
                float sums[16];
                clear(sums);
                add_quad<HALF>(sums, out + q * H, now + (layers - 1) * H, H, lane);
                const float sum = scatter_sum<HALF>(sums, lane);
                if (q0 + team >= quads || o >= L) continue;
                const float result = tg_tanh(sum + (q0 == 0 ? first_bias : out_bias[o]));
                reinterpret_cast<float*>(sy)[o * R + row] = result;
                if (rank == 0 && running) y[n * L + o] = result;
            }
            __syncthreads();
        }
    }
    meet(exchange);  // nobody leaves while others may write into its memory
}

// What the backward reads of a unit's step: gates, the cell and the one before it, and what dropout's mask has there, or 1.
struct Trace {
    float in, forget, g, o, cell, before, kept;
};

template <class Exchange>
static __device__ __forceinline__ void backward(float* dy, float* gates, float* dinit_h, float* dinit_c, const float* y,
                                                const float* c, const float* init_c, const float* stack, const float* out,
                                                const float* mask, const int* head, const int* offsets, const int* lengths,
                                                int L, int H, int layers, int capacity, tg_u64* words, int size, int* late) {
    TG_SHARED(float4, room);
    __shared__ int length[R];
    const int U = (H + size - 1) / size, V = (L + size - 1) / size, rank = blockIdx.x % size, unit0 = rank * U, latent0 = rank * V;
    const int lane = threadIdx.x % WHOLE, team = threadIdx.x / WHOLE, teams = blockDim.x / WHOLE, row = lane % HALF / 4;
    const int quads = (U + 3) / 4, latent_quads = (V + 3) / 4, wide = 4 * H;
    // Of every layer weight_hh's columns of this block's units (quads,4H); of all but the first weight_ih's; of the first the
    // columns of its latents (latent_quads,4H); of the output those of its units (quads,L).
    float4 *const recurrent = room, *const below = recurrent + layers * quads * wide;
    float4 *const latents = below + (layers - 1) * quads * wide, *const outs = latents + latent_quads * wide;
    float4 *const sz = outs + quads * L, *const feed = sz + 2 * layers * wide, *const sd = feed + L;  // (2,layers,4H) (L) (L)
    float* const sdc = reinterpret_cast<float*>(sd + L);                                              // (layers,U,R)
    Exchange exchange(words, max(16 * H, 4 * L), size, late);
    const float* from = stack;
#pragma unroll 1
    for (int part = 0; part < 2 * layers; ++part) {
        const int layer = part / 2, columns = part ? H : L, begin = part ? unit0 : latent0, end = min(columns, begin + (part ? U : V));
        float4* const to = part % 2 ? recurrent + layer * quads * wide : part ? below + (layer - 1) * quads * wide : latents;
#pragma unroll 1
        for (int i = threadIdx.x; i < (part ? quads : latent_quads) * wide; i += blockDim.x) {
            const int first = begin + i / wide * 4;
            to[i] = four(from + (size_t)(i % wide) * columns + first, 1, end - first);
        }
        from += (size_t)columns * wide;
    }
#pragma unroll 1
    for (int i = threadIdx.x; i < quads * L; i += blockDim.x) {
        const int first = unit0 + i / L * 4;
        outs[i] = four(out + (size_t)(i % L) * H + first, 1, min(H, unit0 + U) - first);
    }
#pragma unroll 1
    for (int first = blockIdx.x / size * R; first < head[0]; first += gridDim.x / size * R) {
        lengths_of(length, first, head, lengths);
#pragma unroll 1
        for (int i = threadIdx.x; i < R * (2 * layers * wide + L); i += blockDim.x) reinterpret_cast<float*>(sz)[i] = 0.0f;
#pragma unroll 1
        for (int i = threadIdx.x; i < layers * U * R; i += blockDim.x) sdc[i] = 0.0f;
        meet(exchange);
        const auto trace_of = [&](int layer, int t, int u) {
            Trace trace = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 1.0f};
            const int unit = unit0 + u;
            if (u >= U || unit >= H || t >= length[row]) return trace;
            const size_t at = ((size_t)layer * capacity + offsets[t] + first + row) * H + unit;
            const float* const z = gates + (at - unit) * 4 + unit;
            trace.in = z[0], trace.forget = z[H], trace.g = z[2 * H], trace.o = z[3 * H];
            trace.cell = c[at];
            trace.before = t > 0 ? c[((size_t)layer * capacity + offsets[t - 1] + first + row) * H + unit]
                                 : init_c[((size_t)(first + row) * layers + layer) * H + unit];
            if (mask && layer + 1 < layers) trace.kept = mask[at];
            return trace;
        };
        // As forward: of the team's first quad in the next layer, or in the last of the step before, the recurrent share of dh, and
        // what is multiplied with it; and of the step before dy and y.
        const int wanted = 4 * team + lane % 4;
        float ahead = 0.0f, next_dy = 0.0f, next_y = 0.0f;
        Trace next = {};
        const auto recurrent_of = [&](int layer, int q, const float4* dz) {
            float sums[16];
            clear(sums);
            add_quad<WHOLE>(sums, recurrent + (layer * quads + q) * wide, dz + layer * wide, wide, lane);
            return scatter_sum<WHOLE>(sums, lane);
        };
        const auto look_ahead = [&](int layer, int t, const float4* later) {
            if (team >= quads) return;
            next = trace_of(layer, t, wanted);
            ahead = recurrent_of(layer, team, later);
        };
        const auto look_at_output = [&](int t) {
            const int r = threadIdx.x % R;
            const size_t at = (size_t)(offsets[t] + first + r) * L + threadIdx.x / R;
            if ((int)threadIdx.x < R * L && t < length[r]) next_dy = dy[at], next_y = y[at];
        };
        look_at_output(length[0] - 1);
        look_ahead(layers - 1, length[0] - 1, sz + (length[0] & 1) * layers * wide);
#pragma unroll 1
        for (int t = length[0] - 1; t >= 0; --t) {
            const int offset = offsets[t];
            const size_t n = offset + first + row;
            const bool running = t < length[row];
            float4* const now = sz + (t & 1) * layers * wide;
            const float4* const later = sz + (~t & 1) * layers * wide;
#pragma unroll 1
            for (int i = threadIdx.x; i < R * L; i += blockDim.x) {
                const int r = i % R;
                const size_t at = (size_t)(offset + first + r) * L + i / R;
                float d = 0.0f;
                if (t < length[r]) {
                    const bool known = i == (int)threadIdx.x;
                    const float out = known ? next_y : y[at];
                    d = ((known ? next_dy : dy[at]) + reinterpret_cast<const float*>(feed)[i]) * (1.0f - out * out);
                }
                reinterpret_cast<float*>(sd)[i] = d;
            }
            __syncthreads();
#pragma unroll 1
            for (int layer = layers - 1; layer >= 0; --layer) {
                const bool top = layer + 1 == layers;
                float* const to = reinterpret_cast<float*>(now + layer * wide);
                float dz[4];
                float* unstored = nullptr;  // where two of these belong: each half of a warp has two of the gates
                const auto store = [&] {
                    if (!unstored) return;
                    const bool high = lane / HALF;
                    unstored[0] = high ? dz[2] : dz[0];
                    unstored[H] = high ? dz[3] : dz[1];
                    unstored = nullptr;
                };
#pragma unroll 1
                for (int q = team; q < quads; q += teams) {
                    store();
                    const int u = 4 * q + lane % 4, unit = unit0 + u;
                    const bool mine = u < U && unit < H, works = mine && running;
                    if (q != team) {
                        next = trace_of(layer, t, u);
                        ahead = recurrent_of(layer, q, later);
                    }
                    float sums[16];
                    clear(sums);
                    if (top)
                        add_quad<WHOLE>(sums, outs + q * L, sd, L, lane);
                    else
                        add_quad<WHOLE>(sums, below + (layer * quads + q) * wide, now + (layer + 1) * wide, wide, lane);
                    const float dh = scatter_sum<WHOLE>(sums, lane) * next.kept + ahead;
                    const float in = next.in, forget = next.forget, g = next.g, o = next.o, tanh_c = tg_tanh(next.cell);
                    float dc = 0.0f;
                    dz[0] = dz[1] = dz[2] = dz[3] = 0.0f;
                    if (works) {
                        const float dcell = fmaf(dh * o, 1.0f - tanh_c * tanh_c, sdc[(layer * U + u) * R + row]);
                        dz[0] = dcell * g * (in * (1.0f - in));
                        dz[1] = dcell * next.before * (forget * (1.0f - forget));
                        dz[2] = dcell * in * (1.0f - g * g);
                        dz[3] = dh * tanh_c * (o * (1.0f - o));
                        dc = dcell * forget;
                    }
                    __syncwarp();  // both halves of the warp have read what they now write
                    if (!mine) continue;
#pragma unroll
                    for (int gate = 0; gate < 4; ++gate)
                        if (gate / 2 == lane / HALF) exchange.put(to, (gate * H + unit) * R + row, dz[gate], 0, 1);
                    if (!works) continue;
                    unstored = gates + ((size_t)layer * capacity + n) * wide + 2 * (lane / HALF) * H + unit;
                    if (lane < HALF) sdc[(layer * U + u) * R + row] = dc;
                }
                exchange.arrive();
                store();
                if (layer > 0) look_ahead(layer - 1, t, later);
                exchange.wait(to, R * wide);
            }
#pragma unroll 1
            for (int q = team; q < latent_quads; q += teams) {
                float sums[16];
                clear(sums);
                add_quad<WHOLE>(sums, latents + q * wide, now, wide, lane);
                const float d = scatter_sum<WHOLE>(sums, lane);
                const int v = 4 * q + lane % 4;
                if (lane < HALF && v < V && latent0 + v < L) exchange.put(reinterpret_cast<float*>(feed), (latent0 + v) * R + row, d, 0, 1);
            }
            exchange.arrive();
            // All blocks have read dy by now.
#pragma unroll 1
            for (int i = threadIdx.x; i < R * L; i += blockDim.x)
                if (rank == 0 && t < length[i % R])
                    dy[(size_t)(offset + first + i % R) * L + i / R] = reinterpret_cast<const float*>(sd)[i];
            if (t > 0) {
                look_at_output(t - 1);
                look_ahead(layers - 1, t - 1, now);
            }
            exchange.wait(reinterpret_cast<float*>(feed), R * L);
        }
#pragma unroll 1
        for (int i = team; i < layers * quads; i += teams) {
            const int layer = i / quads, u = 4 * (i % quads) + lane % 4;
            float sums[16];
            clear(sums);
            add_quad<WHOLE>(sums, recurrent + i * wide, sz + layer * wide, wide, lane);
            const float dh = scatter_sum<WHOLE>(sums, lane);
            if (lane >= HALF || u >= U || unit0 + u >= H || length[row] == 0) continue;
            const size_t at = ((size_t)(first + row) * layers + layer) * H + unit0 + u;
            dinit_h[at] = dh;
            dinit_c[at] = sdc[(layer * U + u) * R + row];
        }
    }
    meet(exchange);
}

// shared 16 (U (L + H + (layers-1) 2 H) + ceil(L/4) (H + 4) + 2 layers H + H + layers U)
#define EXPANDER_GROUP_FORWARD(name, exchange)                                                                               \
    extern "C" __global__ void __launch_bounds__(256, 1) name(                                                               \
        float* y, float* gates, float* c, float* h, const float* constant, const float* init_h, const float* init_c,         \
        const float* stack_t, const float* biases, const float* out_t, const float* out_bias, const float* mask,             \
        const int* head, const int* offsets, const int* lengths, int latent, int hidden, int layers, int capacity,           \
        tg_u64* words, int size, int* late) {                                                                                \
        forward<exchange>(y, gates, c, h, constant, init_h, init_c, stack_t, biases, out_t, out_bias, mask, head, offsets,   \
                          lengths, latent, hidden, layers, capacity, words, size, late);                                     \
    }

// shared 16 (ceil(U/4) ((2 layers - 1) 4 H + L) + ceil(V/4) 4 H + 8 layers H + 2 L + layers U), V = ceil(L / size)
#define EXPANDER_GROUP_BACKWARD(name, exchange)                                                                              \
    extern "C" __global__ void __launch_bounds__(256, 1) name(                                                               \
        float* dy, float* gates, float* dinit_h, float* dinit_c, const float* y, const float* c, const float* init_c,        \
        const float* stack, const float* out, const float* mask, const int* head, const int* offsets, const int* lengths,    \
        int latent, int hidden, int layers, int capacity, tg_u64* words, int size, int* late) {                              \
        backward<exchange>(dy, gates, dinit_h, dinit_c, y, c, init_c, stack, out, mask, head, offsets, lengths, latent,      \
                           hidden, layers, capacity, words, size, late);                                                     \
    }
