// Element by element, layer norm, and packed sequences.
#pragma once
#include "check.h"

namespace test_rows {
using namespace check;

inline void elements(int M, int W) {
    const int rows = M;
    const size_t n = (size_t)M * W, grid = n + 300;  // a grid for a larger batch
    const Floats x = numbers(n, 1), y = numbers(n, 2), z = numbers(n, 3), scale = numbers(M, 4), table = numbers(5 * W, 5);
    Ints chosen, classes;
    for (int i = 0; i < M; ++i) {
        chosen.push_back((i * 3 + 1) % 5);
        classes.resize(i * TG_CLASSES, -1);
        classes.insert(classes.end(), {i % 2, i % 5, i % 3});
    }
    // f(i): what element i becomes; run(out): the launch, on a copy of z.
    const auto test = [&](const char* name, const std::function<double(size_t)>& f, const std::function<void(float*)>& run) {
        Doubles expected;
        for (size_t i = 0; i < n; ++i) expected.push_back(f(i));
        same(name, expected, 1e-6, [&] {
            Floats out = z;
            each(grid, [&] { run(out.data()); });
            return out;
        });
    };
    test("fill", [&](size_t) { return 0.5; }, [&](float* out) { fill(out, 0.5f, &rows, W); });
    test("plus", [&](size_t i) { return z[i] + x[i]; }, [&](float* out) { plus(out, out, x.data(), &rows, W); });
    test("copy_rows", [&](size_t i) { return x[i]; }, [&](float* out) { copy_rows(out, x.data(), &rows, W); });
    test("product", [&](size_t i) { return x[i] * y[i]; }, [&](float* out) { product(out, x.data(), y.data(), &rows, W, 0); });
    test("product added", [&](size_t i) { return z[i] + x[i] * y[i]; },
         [&](float* out) { product(out, x.data(), y.data(), &rows, W, TG_ADD); });
    test("tanh_forward", [&](size_t i) { return std::tanh(z[i]); }, [&](float* out) { tanh_forward(out, &rows, W); });
    test("tanh_backward", [&](size_t i) { return z[i] * (1 - y[i] * y[i]); }, [&](float* out) { tanh_backward(out, y.data(), &rows, W); });
    const auto mean = [&](size_t i) {
        const int first = i / W / 8 * 8, end = std::min(first + 8, M);
        double sum = 0;
        for (int r = first; r < end; ++r) sum += z[r * W + i % W];
        return M > 1 ? sum / (end - first) : 0.0;
    };
    const auto beyond = [&](size_t i) { return y[i] - std::min(std::max(y[i], -0.5f), 0.5f); };
    test("hold_rows", [&](size_t i) { return z[i] + 2.0 / M * beyond(i); },
         [&](float* out) { hold_rows(out, y.data(), 2.0f, 0.5f, &rows, W); });
    test("centre_rows", [&](size_t i) { return z[i] - mean(i); }, [&](float* out) { centre_rows(out, &rows, W); });
    test("leaky_relu", [&](size_t i) { return leaky(z[i]); }, [&](float* out) { leaky_relu(out, &rows, W); });
    test("leaky_relu_backward", [&](size_t i) { return y[i] > 0 ? z[i] : 0.2f * z[i]; },
         [&](float* out) { leaky_relu_backward(out, y.data(), &rows, W); });
    Floats gate(n);
    test("swish", [&](size_t i) { return x[i] * sigmoid(x[i]); }, [&](float* out) { swish(out, gate.data(), x.data(), &rows, W); });
    const auto slope = [&](size_t i) { return sigmoid(x[i]) * (1 + x[i] * (1 - sigmoid(x[i]))); };
    test("swish_backward", [&](size_t i) { return y[i] * slope(i); },
         [&](float* out) { swish_backward(out, y.data(), x.data(), gate.data(), &rows, W); });
    test("add_scaled_rows", [&](size_t i) { return z[i] + scale[i / W] * x[i]; },
         [&](float* out) { add_scaled_rows(out, scale.data(), x.data(), &rows, W); });
    test("gather_rows", [&](size_t i) { return table[chosen[i / W] * W + i % W]; },
         [&](float* out) { gather_rows(out, table.data(), chosen.data(), &rows, W); });
    test("embed", [&](size_t i) { return x[i] + table[classes[TG_CLASSES * (i / W) + 1] * W + i % W]; },
         [&](float* out) { embed(out, x.data(), table.data(), classes.data(), 1, &rows, W); });
    const int A = (W + 2) / 3, B = W - A;  // the first columns and the others
    const auto part = [&](const Floats& of, size_t i) { return (int)(i % W) < A ? of[i / W * A + i % W] : of[i / W * B + i % W - A]; };
    test("join_columns", [&](size_t i) { return (int)(i % W) < A ? part(x, i) : part(y, i); },
         [&](float* out) { join_columns(out, x.data(), y.data(), &rows, A, B); });
    test("join_columns with zeros", [&](size_t i) { return (int)(i % W) < A ? part(x, i) : 0.0f; },
         [&](float* out) { join_columns(out, x.data(), nullptr, &rows, A, B); });
    Doubles halves, second;
    for (size_t i = 0; i < n; ++i) {
        if ((int)(i % W) < A)
            halves.push_back(x[i]);
        else
            second.push_back((double)x[i] + z[second.size()]);
    }
    append(halves, second);
    same("split_columns", halves, 1e-6, [&] {
        Floats a = unknown(M * A), b(z.begin(), z.begin() + M * B);
        each(grid, [&] { split_columns(a.data(), nullptr, x.data(), &rows, A, B); });
        each(grid, [&] { split_columns(nullptr, b.data(), x.data(), &rows, A, B); });
        append(a, b);
        return a;
    });

    Doubles dots(scale.begin(), scale.end()), scattered(5 * W);
    for (size_t i = 0; i < n; ++i) {
        dots[i / W] += (double)x[i] * y[i];
        scattered[classes[TG_CLASSES * (i / W) + 1] * W + i % W] += x[i];
    }
    same("add_row_dots", dots, 1e-5, [&] {
        Floats out = scale;
        warps(M + 5, [&] { add_row_dots(out.data(), x.data(), y.data(), &rows, W); });
        return out;
    });
    same("scatter", scattered, 1e-5, [&] {
        Floats out(5 * W, 0.0f);
        emu::launch(dim3((W + 31) / 32, 5), dim3(32, 8), 0, [&] { scatter(out.data(), x.data(), classes.data(), 1, &rows, W); });
        return out;
    });
}

// The largest error of the activations over all that matters, NaN and the ends included.
inline void activations() {
    Floats x = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 1e-30f, 200.0f, -200.0f, 0.625f, 0.62499994f};
    for (int i = -2000; i <= 2000; ++i) x.push_back(i * 0.01f);
    double worst = 0.0;
    bool nan = true;
    for (float v : x) {
        if (v != v) {
            nan = tg_tanh(v) != tg_tanh(v) && tg_sigmoid(v) != tg_sigmoid(v);
            continue;
        }
        worst = std::max(worst, std::fabs(tg_tanh(v) - std::tanh((double)v)) / std::max(1e-30, std::fabs(std::tanh((double)v))));
        if (v > -87) worst = std::max(worst, std::fabs(tg_sigmoid(v) - sigmoid(v)) / sigmoid(v));
    }
    report(nan && worst < 4 * 1.2e-7, "activations", "relative error " + std::to_string(worst * 1e6) + "e-6");  // 4 ulp
}

// Layer norm in double: forward, and by central differences everything that follows from it.
struct Norm {
    int D;
    const Floats &gain, &bias;

    Doubles forward(const Doubles& x) const {
        double mean = 0.0, square = 0.0;
        for (double v : x) mean += v / D;
        for (double v : x) square += (v - mean) * (v - mean) / D;
        Doubles y;
        for (int j = 0; j < D; ++j) y.push_back(gain[j] * (x[j] - mean) / std::sqrt(square + 1e-5) + bias[j]);
        return y;
    }

    // The change of y along t, by differences.
    Doubles tangent(const Doubles& x, const Doubles& t) const {
        const double e = 1e-4;
        Doubles up = x, down = x, out;
        for (int j = 0; j < D; ++j) up[j] += e * t[j], down[j] -= e * t[j];
        const Doubles a = forward(up), b = forward(down);
        for (int j = 0; j < D; ++j) out.push_back((a[j] - b[j]) / (2 * e));
        return out;
    }

    // dy . forward(x) + dty . tangent(x, t)
    double whole(const Doubles& x, const Doubles& t, const float* dy, const float* dty) const {
        const Doubles y = forward(x), ty = tangent(x, t);
        double sum = 0.0;
        for (int j = 0; j < D; ++j) sum += dy[j] * y[j] + dty[j] * ty[j];
        return sum;
    }
};

inline void layer_norm(int M, int D) {
    const int rows = M;
    const size_t n = (size_t)M * D;
    const Floats x = numbers(n, 1), tx = numbers(n, 2), dy = numbers(n, 3), dty = numbers(n, 4), gain = numbers(D, 5), bias = numbers(D, 6);
    const Norm norm = {D, gain, bias};
    Doubles forward, tangent, dx, dtx;
    const Floats none(D, 0.0f);
    for (int r = 0; r < M; ++r) {
        Doubles row(x.begin() + r * D, x.begin() + (r + 1) * D), t(tx.begin() + r * D, tx.begin() + (r + 1) * D);
        append(forward, norm.forward(row));
        append(tangent, norm.tangent(row, t));
        for (int j = 0; j < D; ++j) {
            const double e = 1e-3;
            Doubles up = row, down = row, t_up = t, t_down = t;
            up[j] += e, down[j] -= e, t_up[j] += e, t_down[j] -= e;
            const float *d = &dy[r * D], *dt = &dty[r * D];
            dx.push_back((norm.whole(up, t, d, dt) - norm.whole(down, t, d, dt)) / (2 * e));
            dtx.push_back((norm.whole(row, t_up, none.data(), dt) - norm.whole(row, t_down, none.data(), dt)) / (2 * e));
        }
    }
    Doubles leaky_tangent = tangent;
    for (size_t i = 0; i < n; ++i) leaky_tangent[i] *= dy[i] > 0.0f ? 1.0f : 0.2f;
    Floats normal = unknown(n), inverse = unknown(M), change = unknown(n);
    same("layer_norm_forward", forward, 3e-6, [&] {
        Floats y = x;
        warps(M + 7, [&] { layer_norm_forward(y.data(), normal.data(), inverse.data(), gain.data(), bias.data(), &rows, D, 0); });
        return y;
    });
    // dy stands for what LeakyReLU has left.
    for (const float* y : {dy.data(), (const float*)nullptr})
        same("layer_norm_tangent", y ? leaky_tangent : tangent, 1e-5, [&] {
            Floats t = unknown(n);
            warps(M + 7, [&] {
                layer_norm_tangent(t.data(), change.data(), tx.data(), normal.data(), inverse.data(), gain.data(), y, &rows, D);
            });
            return t;
        });
    append(dx, dtx);
    // Second differences: their own error is some 1e-5.
    same("layer_norm_tangent_backward", dx, 2e-4, [&] {
        Floats d = dy, dt = dty;
        warps(M + 7, [&] {
            layer_norm_tangent_backward(d.data(), dt.data(), tx.data(), normal.data(), change.data(), inverse.data(), gain.data(),
                                        &rows, D);
        });
        append(d, dt);
        return d;
    });
    Doubles plain;
    for (int r = 0; r < M; ++r)
        for (int j = 0; j < D; ++j) {
            const double e = 1e-4;
            Doubles up(x.begin() + r * D, x.begin() + (r + 1) * D), down = up;
            up[j] += e, down[j] -= e;
            const Doubles a = norm.forward(up), b = norm.forward(down);
            double sum = 0.0;
            for (int k = 0; k < D; ++k) sum += dy[r * D + k] * (a[k] - b[k]) / (2 * e);
            plain.push_back(sum);
        }
    same("layer_norm_backward", plain, 1e-5, [&] {
        Floats d = dy;
        warps(M + 7, [&] { layer_norm_backward(d.data(), normal.data(), inverse.data(), gain.data(), &rows, D); });
        return d;
    });
}

inline void layer_norm_gradients(int M, int D) {
    const int rows = M, chunks = (M + 255) / 256;
    const size_t n = (size_t)M * D;
    const Floats dy = numbers(n, 1), normal = numbers(n, 2), dty = numbers(n, 3), change = numbers(n, 4), old = numbers(D, 5);
    for (bool tangent : {false, true}) {
        Doubles gain(old.begin(), old.end()), bias = gain;
        for (size_t i = 0; i < n; ++i) {
            gain[i % D] += (double)dy[i] * normal[i] + (tangent ? (double)dty[i] * change[i] : 0.0);
            bias[i % D] += dy[i];
        }
        append(gain, bias);
        same("layer_norm_gradient", gain, 3e-6 * std::sqrt(M), [&] {
            Floats dgain = old, dbias = old, partials = unknown(chunks * 2 * D);
            float* const apart = chunks > 1 ? partials.data() : nullptr;
            // The grid is made for a larger batch.
            emu::launch(dim3((D + 31) / 32, chunks > 1 ? chunks + 1 : 1), dim3(32, 8), 0, [&] {
                layer_norm_gradient(apart, dgain.data(), dbias.data(), dy.data(), normal.data(), tangent ? dty.data() : nullptr,
                                    change.data(), &rows, D);
            });
            if (apart)
                each(2 * D, [&] { matrix_gradient_add(dgain.data(), dbias.data(), nullptr, apart, &rows, 1, D, 1, TG_ADD); });
            append(dgain, dbias);
            return dgain;
        });
    }
}

inline void packed(int B, int T, int W) {
    const Steps s = Steps::falling(B, T);
    const int N = s.total(), *head = s.head.data(), *offsets = s.offsets.data(), *lengths = s.lengths.data(), *times = s.times.data();
    const Floats x = numbers(N * W, 1), initial = numbers(B * (W + 2), 2), row = numbers(B * W, 3);
    Doubles before(N * W), zeros(N * W), sums(B * W), spread(N * W), positions(N * 32);
    for (int b = 0; b < B; ++b)
        for (int t = 0; t < s.lengths[b]; ++t)
            for (int j = 0; j < W; ++j) {
                const int i = s.at(b, t) * W + j;
                before[i] = t ? x[s.at(b, t - 1) * W + j] : initial[b * (W + 2) + j];
                zeros[i] = t ? x[s.at(b, t - 1) * W + j] : 0.0;
                sums[b * W + j] += x[i];
                spread[i] = x[i] + row[b * W + j];
            }
    for (int b = 0; b < B; ++b)
        for (int t = 0; t < s.lengths[b]; ++t)
            for (int j = 0; j < 32; ++j) {
                const double angle = (double)t / s.lengths[b] * std::pow(10000.0, -2.0 * (j % 16) / 32.0) * 6.28318;
                positions[s.at(b, t) * 32 + j] = j < 16 ? std::sin(angle) : std::cos(angle);
            }
    same("shift_steps", before, 0.0, [&] {
        Floats out = unknown(N * W);
        each(N * W + 400, [&] { shift_steps(out.data(), x.data(), initial.data(), W + 2, head, offsets, times, W); });
        return out;
    });
    same("shift_steps from zeros", zeros, 0.0, [&] {
        Floats out = unknown(N * W);
        each(N * W, [&] { shift_steps(out.data(), x.data(), nullptr, 0, head, offsets, times, W); });
        return out;
    });
    same("sum_steps", sums, 1e-6, [&] {
        Floats out = unknown(B * W);
        each(B * W + 300, [&] { sum_steps(out.data(), x.data(), head, offsets, lengths, W); });
        return out;
    });
    same("spread_steps", spread, 1e-6, [&] {
        Floats out = x;
        each(N * W + 300, [&] { spread_steps(out.data(), row.data(), head, offsets, times, W, TG_ADD); });
        return out;
    });
    same("encode_positions", positions, 1e-6, [&] {
        Floats out = unknown(N * 32);
        each(N * 32, [&] { encode_positions(out.data(), lengths, head, offsets, times); });
        return out;
    });
}

inline void all() {
    activations();
    for (auto [M, W] : {std::pair(1, 1), {3, 12}, {65, 17}, {64, 64}}) elements(M, W);
    for (auto [M, D] : {std::pair(1, 3), {3, 12}, {5, 65}}) layer_norm(M, D);
    for (auto [M, D] : {std::pair(1, 1), {64, 17}, {65, 128}, {300, 40}}) layer_norm_gradients(M, D);
    for (int B : {1, 3, 65})
        for (int T : {1, 2, 13}) packed(B, T, 17);
}

}  // namespace test_rows
