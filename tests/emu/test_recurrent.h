// The LSTM layer and the expander, forward and backward, against plain double loops over one row at a time.
#pragma once
#include "check.h"

namespace test_recurrent {
using namespace check;

// One LSTM step of one row in double. z (4H) comes before its activation.
inline void cell(double* z, const double* c0, double* c, double* h, int H) {
    for (int j = 0; j < H; ++j) {
        z[j] = sigmoid(z[j]), z[H + j] = sigmoid(z[H + j]), z[2 * H + j] = std::tanh(z[2 * H + j]), z[3 * H + j] = sigmoid(z[3 * H + j]);
        c[j] = z[H + j] * c0[j] + z[j] * z[2 * H + j];
        h[j] = z[3 * H + j] * std::tanh(c[j]);
    }
}

// Its reverse: dh, dc of this step; dz (4H); dc of the step before in place.
inline void cell_backward(const double* z, const double* c0, const double* c, const double* dh, double* dc, double* dz, int H) {
    for (int j = 0; j < H; ++j) {
        const double i = z[j], f = z[H + j], g = z[2 * H + j], o = z[3 * H + j], u = std::tanh(c[j]);
        const double d = dc[j] + dh[j] * o * (1 - u * u);
        dz[j] = d * g * i * (1 - i), dz[H + j] = d * c0[j] * f * (1 - f), dz[2 * H + j] = d * i * (1 - g * g);
        dz[3 * H + j] = dh[j] * u * o * (1 - o);
        dc[j] = d * f;
    }
}

// y (O) += w (O,I) x (I), and x (I) += w^T y (O).
inline void multiply(double* y, const float* w, const double* x, int I, int O, int stride) {
    for (int o = 0; o < O; ++o)
        for (int i = 0; i < I; ++i) y[o] += w[(size_t)o * stride + i] * x[i];
}
inline void multiply_back(double* x, const float* w, const double* y, int I, int O, int stride) {
    for (int o = 0; o < O; ++o)
        for (int i = 0; i < I; ++i) x[i] += w[(size_t)o * stride + i] * y[o];
}

inline Floats transposed(const Floats& w, int I, int O) {
    Floats out(w.size());
    for (int o = 0; o < O; ++o)
        for (int i = 0; i < I; ++i) out[i * O + o] = w[o * I + i];
    return out;
}

// Sums of H products through T steps, whose errors feed back.
inline double tolerance(int H, int T) { return 2e-7 * std::sqrt(H) * (2 + T); }

typedef decltype(&lstm_forward_1) LstmForward;
typedef decltype(&lstm_backward_1) LstmBackward;

// Everything an LSTM layer has, by rows. with_states: states before step 0, and a constant share of the gates.
inline void lstm_layer(int B, int T, int H, bool with_states) {
    const Steps s = Steps::falling(B, T);
    const int N = s.total(), stride = with_states ? 2 * H : 0;
    const int *head = s.head.data(), *offsets = s.offsets.data(), *lengths = s.lengths.data();
    const float size = 1.0f / std::sqrt(H);
    const Floats x = numbers(N * 4 * H, 1), w = numbers(4 * H * H, 2, size), dy = numbers(N * H, 3), states = numbers(B * 4 * H, 4);
    const Floats w_t = transposed(w, H, 4 * H), constant = numbers(B * 4 * H, 5);
    const float *h0 = with_states ? &states[0] : nullptr, *c0 = with_states ? &states[H] : nullptr;
    const float* shared = with_states ? constant.data() : nullptr;
    Doubles z(N * 4 * H), c(N * H), h(N * H), dz(N * 4 * H), dh0(B * H), dc0(B * H);
    for (int b = 0; b < B; ++b) {
        Doubles h_before(H), c_before(H), c_first(H);
        for (int j = 0; j < H && with_states; ++j) h_before[j] = h0[b * stride + j], c_before[j] = c_first[j] = c0[b * stride + j];
        for (int t = 0; t < s.lengths[b]; ++t) {
            const int n = s.at(b, t);
            for (int q = 0; q < 4 * H; ++q) z[n * 4 * H + q] = x[n * 4 * H + q] + (shared ? shared[b * 4 * H + q] : 0.0);
            multiply(&z[n * 4 * H], w.data(), h_before.data(), H, 4 * H, H);
            cell(&z[n * 4 * H], c_before.data(), &c[n * H], &h[n * H], H);
            std::copy_n(&h[n * H], H, h_before.begin());
            std::copy_n(&c[n * H], H, c_before.begin());
        }
        Doubles dh(H), dc(H);
        for (int t = s.lengths[b] - 1; t >= 0; --t) {
            const int n = s.at(b, t);
            for (int j = 0; j < H; ++j) dh[j] += dy[n * H + j];
            cell_backward(&z[n * 4 * H], t ? &c[s.at(b, t - 1) * H] : c_first.data(), &c[n * H], dh.data(), dc.data(), &dz[n * 4 * H], H);
            dh.assign(H, 0.0);
            multiply_back(dh.data(), w.data(), &dz[n * 4 * H], H, 4 * H, H);
        }
        std::copy_n(dh.begin(), H, &dh0[b * H]);
        std::copy_n(dc.begin(), H, &dc0[b * H]);
    }
    Doubles expected = z;
    append(expected, c);
    append(expected, h);
    append(expected, dz);
    if (with_states) {
        append(expected, dh0);
        append(expected, dc0);
    }
    Floats bits;  // tiles must agree in all of them; the backward has none of 16
    const auto test = [&](int tile, int threads, size_t room, LstmForward forward, LstmBackward backward) {
        const bool resident = threads > 0;
        const std::string name = (resident ? "lstm resident B " : "lstm_" + std::to_string(tile) + " B ") + std::to_string(B) + " T " + std::to_string(T) + " H " + std::to_string(H);
        same(name, expected, tolerance(H, T), [&] {
            Floats gates = x, cells = unknown(N * H), hidden = unknown(N * H), dh = unknown(B * H), dc = unknown(B * H);
            const int back = std::min(tile, 4);
            const dim3 block(resident ? threads : std::min(512, (4 * H + 31) / 32 * 32));
            emu::launch(dim3((B + tile - 1) / tile + 1), block, resident ? room : 20 * tile * H, [&] {
                forward(gates.data(), cells.data(), hidden.data(), shared, w_t.data(), h0, c0, stride, head, offsets, lengths, H);
            });
            Floats out = gates;
            append(out, cells);
            append(out, hidden);
            Floats d_states = unknown(B * std::max(1, stride));
            emu::launch(dim3((B + back - 1) / back + 1), block, resident ? room : 36 * back * H, [&] {
                backward(gates.data(), with_states ? &d_states[0] : nullptr, with_states ? &d_states[H] : nullptr, dy.data(),
                         cells.data(), c0, w.data(), stride, head, offsets, lengths, H);
            });
            append(out, gates);
            for (int part = 0; part < 2 && with_states; ++part)
                for (int b = 0; b < B; ++b) out.insert(out.end(), &d_states[b * stride + part * H], &d_states[b * stride + part * H] + H);
            if (bits.empty()) bits = out;
            report(resident || bits == out, name, "tiles differ");
            return out;
        });
    };
    test(1, 0, 0, lstm_forward_1, lstm_backward_1);
    test(4, 0, 0, lstm_forward_4, lstm_backward_4);
    test(16, 0, 0, lstm_forward_16, lstm_backward_4);
    if (H == 64) test(1, 256, 0, lstm_forward_h64, lstm_backward_h64);
    if (H == 96) test(1, 384, 0, lstm_forward_h96, lstm_backward_h96);
    if (H == 128) test(1, 512, 98304, lstm_forward_h128, lstm_backward_h128);
}

// An expander in double, one row: what the kernels are checked against, itself checked by differences.
struct Expander {
    int L, H, layers;
    Floats stack, biases, out, out_bias;  // as expander.cu has them

    Expander(int L, int H, int layers) : L(L), H(H), layers(layers) {
        const float size = 1.0f / std::sqrt(H);
        stack = numbers((L + H) * 4 * H + (layers - 1) * 8 * H * H, 1, size);
        biases = numbers(layers * 4 * H, 2), out = numbers(L * H, 3, size), out_bias = numbers(L, 4);
    }

    int inputs(int k) const { return k ? H : L; }
    const float* input(int k) const { return &stack[k ? (L + H) * 4 * H + (k - 1) * 8 * H * H : 0]; }
    const float* recurrent(int k) const { return input(k) + inputs(k) * 4 * H; }

    Floats stack_t() const {
        Floats to(stack.size());
        for (int k = 0; k < layers; ++k)
            for (auto [w, I] : {std::pair(input(k), inputs(k)), {recurrent(k), H}})
                for (int q = 0; q < 4 * H; ++q)
                    for (int i = 0; i < I; ++i) to[w - stack.data() + i * 4 * H + q] = w[q * I + i];
        return to;
    }
};

// One row through an Expander. mask[k][t*H + j] of layer k, or empty.
struct Row {
    const Expander& net;
    int T;
    const float* constant;
    std::vector<Doubles> mask;
    Doubles init_h, init_c;  // (layers,H)
    std::vector<Doubles> z, c, h;  // of each layer (T,·)
    Doubles y;

    void forward() {
        const int H = net.H, L = net.L;
        z.assign(net.layers, Doubles(T * 4 * H)), c.assign(net.layers, Doubles(T * H)), h = c;
        y.assign(T * L, 0.0);
        for (int t = 0; t < T; ++t) {
            Doubles x(L);
            if (t) x.assign(&y[(t - 1) * L], &y[(t - 1) * L] + L);
            for (int k = 0; k < net.layers; ++k) {
                double* gates = &z[k][t * 4 * H];
                for (int q = 0; q < 4 * H; ++q) gates[q] = k ? net.biases[k * 4 * H + q] : constant[q];
                multiply(gates, net.input(k), x.data(), net.inputs(k), 4 * H, net.inputs(k));
                multiply(gates, net.recurrent(k), t ? &h[k][(t - 1) * H] : &init_h[k * H], H, 4 * H, H);
                cell(gates, t ? &c[k][(t - 1) * H] : &init_c[k * H], &c[k][t * H], &h[k][t * H], H);
                x.assign(&h[k][t * H], &h[k][t * H] + H);
                for (int j = 0; j < H && k + 1 < net.layers && !mask.empty(); ++j) x[j] *= mask[k][t * H + j];
            }
            multiply(&y[t * L], net.out.data(), x.data(), H, L, H);
            for (int o = 0; o < L; ++o) y[t * L + o] = std::tanh(y[t * L + o] + net.out_bias[o]);
        }
    }

    // dy (T,L) becomes the gradient before tanh; dz of each layer; gradients of the states before step 0.
    void backward(Doubles& dy, std::vector<Doubles>& dz, Doubles& dh, Doubles& dc) const {
        const int H = net.H, L = net.L;
        dz.assign(net.layers, Doubles(T * 4 * H)), dh.assign(net.layers * H, 0.0), dc = dh;
        for (int t = T - 1; t >= 0; --t) {
            for (int o = 0; o < L; ++o) dy[t * L + o] *= 1 - y[t * L + o] * y[t * L + o];
            multiply_back(&dh[(net.layers - 1) * H], net.out.data(), &dy[t * L], H, L, H);
            for (int k = net.layers - 1; k >= 0; --k) {
                double* const d = &dz[k][t * 4 * H];
                cell_backward(&z[k][t * 4 * H], t ? &c[k][(t - 1) * H] : &init_c[k * H], &c[k][t * H], &dh[k * H], &dc[k * H], d, H);
                std::fill_n(&dh[k * H], H, 0.0);
                multiply_back(&dh[k * H], net.recurrent(k), d, H, 4 * H, H);
                Doubles below(net.inputs(k));
                multiply_back(below.data(), net.input(k), d, net.inputs(k), 4 * H, net.inputs(k));
                for (int j = 0; j < net.inputs(k); ++j) {
                    if (k) dh[(k - 1) * H + j] += mask.empty() ? below[j] : below[j] * mask[k - 1][t * H + j];
                    if (!k && t) dy[(t - 1) * L + j] += below[j];
                }
            }
        }
    }
};

typedef decltype(&expander_forward_1) ExpanderForward;
typedef decltype(&expander_backward_1) ExpanderBackward;

inline void expander(int B, int T, int L, int H, int layers, bool dropout) {
    const Steps s = Steps::falling(B, T);
    const int N = s.total(), capacity = N + 5, threads = std::min(512, (4 * H + 31) / 32 * 32);
    const int *head = s.head.data(), *offsets = s.offsets.data(), *lengths = s.lengths.data();
    const Expander net(L, H, layers);
    const Floats constant = numbers(B * 4 * H, 5), init_h = numbers(B * layers * H, 6), init_c = numbers(B * layers * H, 7);
    const Floats dy0 = numbers(N * L, 8), stack_t = net.stack_t(), out_t = transposed(net.out, H, L);
    Floats mask((layers - 1) * capacity * H);
    for (size_t i = 0; i < mask.size(); ++i) mask[i] = i % 3 ? 1.5f : 0.0f;
    Doubles y(N * L), c(layers * N * H), h = c, dy(N * L), dz(layers * N * 4 * H), dinit_h(B * layers * H), dinit_c = dinit_h;
    for (int b = 0; b < B; ++b) {
        Row row = {net, s.lengths[b], &constant[b * 4 * H], {}, {}, {}, {}, {}, {}, {}};
        row.init_h.assign(&init_h[b * layers * H], &init_h[b * layers * H] + layers * H);
        row.init_c.assign(&init_c[b * layers * H], &init_c[b * layers * H] + layers * H);
        for (int k = 0; k + 1 < layers && dropout; ++k) {
            row.mask.emplace_back();
            for (int t = 0; t < row.T; ++t)
                for (int j = 0; j < H; ++j) row.mask[k].push_back(mask[(k * capacity + s.at(b, t)) * H + j]);
        }
        row.forward();
        Doubles d(row.T * L), dh, dc;
        for (int i = 0; i < row.T * L; ++i) d[i] = dy0[s.at(b, i / L) * L + i % L];
        std::vector<Doubles> d_gates;
        row.backward(d, d_gates, dh, dc);
        std::copy(dh.begin(), dh.end(), &dinit_h[b * layers * H]);
        std::copy(dc.begin(), dc.end(), &dinit_c[b * layers * H]);
        for (int t = 0; t < row.T; ++t) {
            const int n = s.at(b, t);
            std::copy_n(&row.y[t * L], L, &y[n * L]);
            std::copy_n(&d[t * L], L, &dy[n * L]);
            for (int k = 0; k < layers; ++k) {
                std::copy_n(&row.c[k][t * H], H, &c[(k * N + n) * H]);
                std::copy_n(&row.h[k][t * H], H, &h[(k * N + n) * H]);
                std::copy_n(&d_gates[k][t * 4 * H], 4 * H, &dz[(k * N + n) * 4 * H]);
            }
        }
    }
    Doubles expected = y;
    for (const Doubles& part : {c, h, dy, dz, dinit_h, dinit_c}) append(expected, part);
    const float* const masks = dropout ? mask.data() : nullptr;
    // All that forward(y, gates, c, h) and backward(dy, gates, dh, dc, y, c) write, in the order of what is expected.
    const auto results = [&](const auto& forward, const auto& backward) {
        Floats out = unknown(N * L), gates = unknown(layers * capacity * 4 * H), cells = unknown(layers * capacity * H), hidden = cells;
        Floats d = dy0, dh = unknown(B * layers * H), dc = dh;
        forward(out.data(), gates.data(), cells.data(), hidden.data());
        const Floats y_out = out;
        backward(d.data(), gates.data(), dh.data(), dc.data(), y_out.data(), cells.data());
        for (const Floats& part : {cells, hidden})
            for (int k = 0; k < layers; ++k) out.insert(out.end(), &part[k * capacity * H], &part[k * capacity * H] + N * H);
        append(out, d);
        for (int k = 0; k < layers; ++k) out.insert(out.end(), &gates[k * capacity * 4 * H], &gates[k * capacity * 4 * H] + N * 4 * H);
        append(out, dh);
        append(out, dc);
        return out;
    };
    const std::string sizes = " B " + std::to_string(B) + " T " + std::to_string(T) + " H " + std::to_string(H);
    Floats bits;
    const auto test = [&](int tile, ExpanderForward kernel, ExpanderBackward reverse) {
        const std::string name = "expander_" + std::to_string(tile) + sizes;
        const int back = std::min(tile, 4);
        const auto forward = [&](float* y, float* gates, float* c, float* h) {
            emu::launch(dim3((B + tile - 1) / tile + 1), dim3(threads), 4 * tile * (L + (layers + 5) * H), [&] {
                kernel(y, gates, c, h, constant.data(), init_h.data(), init_c.data(), stack_t.data(), net.biases.data(),
                       out_t.data(), net.out_bias.data(), masks, head, offsets, lengths, L, H, layers, capacity);
            });
        };
        const auto backward = [&](float* dy, float* gates, float* dh, float* dc, const float* y, const float* c) {
            const int room = 4 * back * (2 * L + 4 * std::max(L, H) + (2 * layers + 8) * H);
            emu::launch(dim3((B + back - 1) / back + 1), dim3(threads), room, [&] {
                reverse(dy, gates, dh, dc, y, c, init_c.data(), net.stack.data(), net.out.data(), masks, head, offsets, lengths,
                        L, H, layers, capacity);
            });
        };
        same(name, expected, 3 * layers * tolerance(H, T), [&] {
            const Floats out = results(forward, backward);
            Floats alone = unknown(N * L), state = unknown(layers * capacity * H);
            forward(alone.data(), nullptr, state.data(), nullptr);
            report(memcmp(alone.data(), out.data(), N * L * sizeof(float)) == 0, name, "other results without a trace");
            if (bits.empty()) bits = out;
            report(bits == out, name, "tiles differ");
            return out;
        });
    };
    test(1, expander_forward_1, expander_backward_1);
    test(4, expander_forward_4, expander_backward_4);
    test(16, expander_forward_16, expander_backward_4);
    // Groups of so many blocks. Fewer groups than tiles, so that they take several.
    Floats of_group;
    const auto test_group = [&](bool cluster, int size, int groups) {
        const std::string name = std::string("expander ") + (cluster ? "cluster of " : "group of ") + std::to_string(size) + sizes;
        const int U = (H + size - 1) / size, V = (L + size - 1) / size, most = std::max(16 * H, 4 * L);
        const dim3 grid(size * groups), block(256);
        const auto launch = [&](int room, const auto& body) {
            std::vector<tg_u64> words(groups * 2 * (most + 32));
            int late = 0;
            emu::launch_together(grid, block, 16 * room, cluster ? size : size * groups, [&] { body(words.data(), &late); });
            report(!late, name, "late");
        };
        const auto forward = [&](float* y, float* gates, float* c, float* h) {
            const int room = U * (L + H + (layers - 1) * 2 * H) + (L + 3) / 4 * (H + 4) + (2 * layers + 1) * H + layers * U;
            launch(room, [&](tg_u64* words, int* late) {
                (cluster ? expander_forward_cluster : expander_forward_group)(
                    y, gates, c, h, constant.data(), init_h.data(), init_c.data(), stack_t.data(), net.biases.data(), out_t.data(),
                    net.out_bias.data(), masks, head, offsets, lengths, L, H, layers, capacity, words, size, late);
            });
        };
        const auto backward = [&](float* dy, float* gates, float* dh, float* dc, const float* y, const float* c) {
            const int room = (U + 3) / 4 * ((2 * layers - 1) * 4 * H + L) + (V + 3) / 4 * 4 * H + 8 * layers * H + 2 * L + layers * U;
            launch(room, [&](tg_u64* words, int* late) {
                (cluster ? expander_backward_cluster : expander_backward_group)(
                    dy, gates, dh, dc, y, c, init_c.data(), net.stack.data(), net.out.data(), masks, head, offsets, lengths, L, H,
                    layers, capacity, words, size, late);
            });
        };
        same(name, expected, 3 * layers * tolerance(H, T), [&] { return results(forward, backward); });
        const Floats out = results(forward, backward);
        if (of_group.empty()) of_group = out;
        report(out == of_group, name, "groups differ");
    };
    test_group(true, 2, B > 4 ? 2 : 1);
    test_group(true, 8, 1);
    test_group(false, 3, B > 4 ? 2 : 1);
}

// A group whose blocks do not run at the same time says so, and comes to an end.
inline void late() {
    const Steps s = Steps::falling(1, 2);
    const int L = 1, H = 2;
    const Floats zeros(64);
    Floats out(64);
    std::vector<tg_u64> words(2 * (16 * H + 32));
    int late = 0;
    emu::launch_apart(dim3(2), dim3(256), 16 * 64, [&] {
        expander_forward_group(&out[0], &out[4], &out[24], &out[32], zeros.data(), zeros.data(), zeros.data(), zeros.data(),
                               zeros.data(), zeros.data(), zeros.data(), nullptr, s.head.data(), s.offsets.data(), s.lengths.data(),
                               L, H, 1, 2, words.data(), 2, &late);
    });
    report(late && std::isnan(out[0]), "expander group of blocks that do not meet", "a result");
}

// The reference itself, against differences of what it gives.
inline void reference() {
    const int L = 2, H = 3, layers = 2, T = 3;
    const Expander net(L, H, layers);
    Floats constant = numbers(4 * H, 5);
    Row row = {net, T, constant.data(), {Doubles(T * H, 1.5)}, {}, {}, {}, {}, {}, {}};
    for (int j = 0; j < layers * H; ++j) row.init_h.push_back(0.1 * j), row.init_c.push_back(0.2 - 0.1 * j);
    const Floats weight = numbers(T * L, 8);
    const auto value = [&] {
        row.forward();
        double sum = 0.0;
        for (int i = 0; i < T * L; ++i) sum += weight[i] * row.y[i];
        return sum;
    };
    value();
    Doubles d(weight.begin(), weight.end()), dh, dc;
    std::vector<Doubles> dz;
    row.backward(d, dz, dh, dc);
    double worst = 0.0;
    const auto compare = [&](double& at, double gradient) {
        const double old = at, e = 1e-5;
        at = old + e;
        const double up = value();
        at = old - e;
        worst = std::max(worst, std::fabs((up - value()) / (2 * e) - gradient));
        at = old;
    };
    for (int j = 0; j < layers * H; ++j) compare(row.init_h[j], dh[j]), compare(row.init_c[j], dc[j]);
    for (int q = 0; q < 4 * H; ++q) {
        const float old = constant[q], e = 1.0f / 256;
        double sum = 0.0;
        for (int t = 0; t < T; ++t) sum += dz[0][t * 4 * H + q];
        constant[q] = old + e;
        const double up = value(), high = constant[q];
        constant[q] = old - e;
        worst = std::max(worst, 1e-3 * std::fabs((up - value()) / (high - constant[q]) - sum));
        constant[q] = old;
    }
    report(worst < 1e-7, "reference of the expander", "error " + std::to_string(worst));
}

inline void all() {
    reference();
    for (int H : {12, 17, 64, 96, 128})
        for (int T : {1, 2, 13})
            for (int B : {1, 3, 65}) {
                if (brief && H * T * B > 5000) continue;
                if (B == 65 && H >= 96 && T == 13) continue;  // 64 rows below stand for it
                lstm_layer(B, T, H, H == 17 || B == 3);
            }
    if (!brief) lstm_layer(64, 5, 128, true);
    for (int T : {1, 2, 13}) expander(3, T, 12, 17, 2, true);
    expander(1, 2, 48, 12, 1, false);  // latents wider than the hidden layer
    expander(5, 3, 1, 64, 3, true);
    if (!brief) expander(65, 2, 48, 128, 2, false);
    late();
}

}  // namespace test_recurrent
