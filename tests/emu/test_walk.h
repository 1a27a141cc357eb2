// Whole walks against src/sample/walk.rs done over again in double, one row at a time. Events must be the same: all choices
// are draws from the same dice, and a probability that differs in its seventh digit hardly ever changes one.
#pragma once
#include "test_recurrent.h"
#include "test_training.h"

namespace test_walk {
using namespace check;
using test_recurrent::cell;
using test_recurrent::multiply;
using test_recurrent::transposed;

constexpr int INPUTS = 13;

struct Decoder {
    int H, layers, X, Q;
    bool repeats;
    int most_points, P;
    double landing[2] = {3.5, 2.5};
    double step_temperature, time_temperature;
    std::vector<Floats> inputs, recurrents;
    Floats biases, trunk, trunk_bias, stop, stop_bias, embed_x, embed_y;
    Floats head[3], head_bias[3], profiles[2];
    Ints step_edges = {0, 1, 2, 3, 6, 12, 30}, tick_edges = {0, 1, 2, 4, 9};

    Decoder(int H, int layers, bool repeats, int most_points, int P)
        : H(H), layers(layers), X(11), Q(4), repeats(repeats), most_points(most_points), P(P), step_temperature(0.9), time_temperature(1.2) {
        const float size = 1.0f / std::sqrt(H);
        for (int k = 0; k < layers; ++k) {
            inputs.push_back(numbers(4 * H * (k ? H : INPUTS), 10 + k, size));
            recurrents.push_back(numbers(4 * H * H, 20 + k, size));
        }
        biases = numbers(layers * 4 * H, 3), trunk = numbers(H * H, 4, size), trunk_bias = numbers(H, 5);
        stop = numbers(H, 6, 0.1f), stop_bias = {0.5f}, embed_x = numbers(X * H, 8, 0.3f), embed_y = numbers(X * H, 9, 0.3f);
        for (int k = 0; k < 3; ++k) head[k] = numbers(H * width(k), 30 + k, 0.3f * size), head_bias[k] = numbers(width(k), 33 + k);
        for (int k = 0; k < 2; ++k) profiles[k] = numbers((width(k) - X) * (2 * X - 1), 36 + k);
        for (int k = 0; k < 2 && repeats; ++k) head_bias[k][(X - 1) / 2] += 5.0f;
    }

    // Classes of a head and its gates, of P profiles for each anchor.
    int width(int k) const { return k == 0 ? X + 2 * P : k == 1 ? X + 4 * P : Q; }

    // As Place::x_anchors and ::y_anchors of src/data/steps.rs; -1 for none.
    Ints anchors(int axis, const int* left, const int* last, int index, int x) const {
        const auto along = [&](const int* way) { return x && way[0] ? step_class(x * (double)way[1] / way[0]) : -1; };
        const double to_go = std::sqrt((double)left[0] * left[0] + (double)left[1] * left[1]);
        const double length = std::sqrt((double)last[0] * last[0] + (double)last[1] * last[1]);
        Ints out = axis ? Ints{along(last), along(left)} : Ints();
        out.push_back(index ? step_class(last[axis]) : -1);
        out.push_back(index && to_go > 0.0 ? step_class(left[axis] * length / to_go) : -1);
        return out;
    }

    int step_class(double step) const {
        const int zero = (X - 1) / 2, pixels = std::round(std::min(4096.0, std::max(-4096.0, step)));
        int size = 0;
        while (size < zero && step_edges[size + 1] <= std::abs(pixels)) ++size;
        return pixels < 0 ? zero - size : zero + size;
    }

    Floats stack_t() const {
        Floats out;
        for (int k = 0; k < layers; ++k) {
            append(out, transposed(inputs[k], k ? H : INPUTS, 4 * H));
            append(out, transposed(recurrents[k], H, 4 * H));
        }
        return out;
    }

    Floats heads() const {
        Floats out = transposed(trunk, H, H);
        for (const Floats* part : {&trunk_bias, &stop, &stop_bias}) append(out, *part);
        for (int k = 0; k < 3; ++k) {
            append(out, transposed(head[k], H, width(k)));
            append(out, head_bias[k]);
        }
        return out;
    }
};

inline int choose(const Doubles& logits, int forbidden, double temperature, double unit) {
    double total = 0.0, most = -1e300;
    for (size_t k = 0; k < logits.size(); ++k)
        if ((int)k != forbidden) most = std::max(most, logits[k]);
    const auto weight = [&](size_t k) { return (int)k == forbidden ? 0.0 : std::exp((logits[k] - most) / temperature); };
    for (size_t k = 0; k < logits.size(); ++k) total += weight(k);
    double left = unit * total;
    for (size_t k = 0; k < logits.size(); ++k)
        if ((left -= weight(k)) < 0.0) return k;
    return std::max_element(logits.begin(), logits.end()) - logits.begin();
}

// The events of one walk, three numbers each. landed: set where it draws a last step.
inline Ints walk_once(const Decoder& d, const float* constant, const int* target, uint64_t seed, uint64_t sample, bool& landed) {
    const int H = d.H, zero = (d.X - 1) / 2;
    int left[2] = {target[0], target[1]}, event[3] = {0, 0, 0};
    const double distance = std::hypot(left[0], left[1]);
    std::vector<Doubles> h(d.layers, Doubles(H)), c = h;
    Ints events;
    for (int index = 0;; ++index) {
        double dice[8];
        for (int k = 0; k < 8; ++k) {
            test_training::Reference r = {seed, sample, 15};
            r.index = 2 * index + k / 4;
            for (int skip = 0; skip < k % 4; ++skip) r.word();
            dice[k] = r.word() / 4294967296.0;
        }
        const auto squash = [](int p) { return std::asinh(p / 2.0) / 3.0; };
        int time_class = 0;
        while (index && time_class + 1 < d.Q && d.tick_edges[time_class + 1] <= event[2]) ++time_class;
        Doubles x = {squash(left[0]), squash(left[1]), squash(event[0]), squash(event[1]), time_class / 4.0,
                     std::log1p(std::hypot(left[0], left[1])) / 6, std::log1p(distance) / 6, std::min(index / 40.0, 3.0), index ? 0.0 : 1.0,
                     0, 0, 0, 0};
        for (int k = 0; k < d.layers; ++k) {
            Doubles z(4 * H), next(H), out(H);
            for (int q = 0; q < 4 * H; ++q) z[q] = k ? d.biases[k * 4 * H + q] : constant[q];
            multiply(z.data(), d.inputs[k].data(), x.data(), k ? H : INPUTS, 4 * H, k ? H : INPUTS);
            multiply(z.data(), d.recurrents[k].data(), h[k].data(), H, 4 * H, H);
            cell(z.data(), c[k].data(), next.data(), out.data(), H);
            h[k] = x = out, c[k] = next;
        }
        Doubles trunk(d.trunk_bias.begin(), d.trunk_bias.end());
        multiply(trunk.data(), d.trunk.data(), x.data(), H, H, H);
        double stop = d.stop_bias[0];
        for (int j = 0; j < H; ++j) stop += d.stop[j] * trunk[j];
        const bool ahead = left[0] * event[0] + left[1] * event[1] > 0;
        const double longest = ahead ? d.landing[0] * std::hypot(event[0], event[1]) : d.landing[1];
        const bool landing = index && std::hypot(left[0], left[1]) <= longest && dice[0] < sigmoid(stop);
        const bool last = landing || index + 2 == d.most_points;
        landed |= landing && (left[0] || left[1]);
        int drawn[3], step[2];
        for (int k = 0; k < 3; ++k) {
            Doubles active, logits(d.head_bias[k].begin(), d.head_bias[k].end());
            for (double v : trunk) active.push_back(v * sigmoid(v));
            multiply(logits.data(), d.head[k].data(), active.data(), H, logits.size(), H);
            const Ints anchors = k < 2 ? d.anchors(k, left, event, index, step[0]) : Ints();
            for (int g = 0; g < d.width(k) - d.X && k < 2; ++g)
                for (int c = 0; c < d.X && anchors[g / d.P] >= 0; ++c)
                    logits[c] += logits[d.X + g] * d.profiles[k][g * (2 * d.X - 1) + d.X - 1 + c - anchors[g / d.P]];
            logits.resize(k < 2 ? d.X : d.Q);
            const bool still = k == 1 && !d.repeats && drawn[0] == zero;
            drawn[k] = choose(logits, still ? zero : -1, k < 2 ? d.step_temperature : d.time_temperature, dice[1 + k]);
            if (last && k < 2) drawn[k] = d.step_class(left[k]);
            if (k < 2) {
                const int sign = drawn[k] < zero ? -1 : 1, size = std::abs(drawn[k] - zero);
                const int low = d.step_edges[size], high = d.step_edges[size + 1];
                step[k] = last ? left[k] : sign * (low + (int)((high - low) * dice[4 + k]));
            }
            for (int j = 0; j < H && k < 2; ++j) trunk[j] += (k ? d.embed_y : d.embed_x)[drawn[k] * H + j];
        }
        for (int axis = 0; axis < 2; ++axis) {
            event[axis] = step[axis];
            left[axis] -= step[axis];
        }
        const int low = d.tick_edges[drawn[2]], high = d.tick_edges[drawn[2] + 1];
        event[2] = std::max(1, low + (int)((high - low) * dice[6]));
        events.insert(events.end(), {event[0], event[1], event[2]});
        if ((last || !d.repeats) && left[0] == 0 && left[1] == 0 && index >= 1) return events;
    }
}

inline void walks(int B, const Decoder& d) {
    const uint64_t seed = 0x700000009u, first = 0xfffffffdu;
    const std::vector<unsigned> clock = {9, 7, 0xfffffffdu, 0};
    const Floats constant = numbers(B * 4 * d.H, 1), stack_t = d.stack_t(), heads = d.heads();
    Ints targets;
    for (int b = 0; b < B; ++b) targets.insert(targets.end(), {b % 2 ? 2 * b : 0, b % 2 ? -b : 0});
    const int row = 3 * (d.most_points - 1);
    Doubles expected;
    bool landed = false;
    for (int b = 0; b < B; ++b) {
        const Ints events = walk_once(d, &constant[b * 4 * d.H], &targets[2 * b], seed, first + b, landed);
        Doubles all(row, -1.0);
        std::copy(events.begin(), events.end(), all.begin());
        append(expected, all);
        expected.push_back(events.size() / 3);
    }
    report(landed || B == 1, "walks", "the test does not test what it is for");
    const int most = std::max(d.X, d.Q);
    const float* const tables[2] = {d.P ? d.profiles[0].data() : nullptr, d.P ? d.profiles[1].data() : nullptr};
    same("walk B " + std::to_string(B) + " H " + std::to_string(d.H), expected, 0.0, [&] {
        Ints events(B * row, -1), counts(B, -1);
        blocks((B + 7) / 8, 64 * most + 32 * (INPUTS + (2 * d.layers + 6) * d.H + std::max(d.width(1), d.Q)), [&] {
            walk(events.data(), counts.data(), targets.data(), constant.data(), stack_t.data(), d.biases.data(), heads.data(),
                 d.embed_x.data(), d.embed_y.data(), tables[0], tables[1], d.step_edges.data(), d.tick_edges.data(), clock.data(),
                 d.step_temperature, d.time_temperature, d.landing[0], d.landing[1], B, d.H, d.layers, d.X, d.Q, d.repeats, d.most_points, d.P);
        });
        Floats out;
        for (int b = 0; b < B; ++b) {
            out.insert(out.end(), &events[b * row], &events[b * row] + row);
            out.push_back(counts[b]);
        }
        return out;
    });
}

inline void all() {
    walks(1, Decoder(12, 1, true, 9, 0));
    walks(9, Decoder(17, 2, true, 40, 2));
    walks(17, Decoder(64, 2, false, 12, 0));
    walks(17, Decoder(12, 1, false, 20, 3));
}

}  // namespace test_walk
