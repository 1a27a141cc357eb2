/* Several pointers from one model, on several threads, in a loop of fixed time steps: 4_simulator [MODEL] [THREADS]
 *
 *     c++ -std=c++11 4_simulator.cpp -ltrajgan -pthread -o 4_simulator && ./4_simulator my.safetensors 4
 *
 * Each pointer goes from target to target; the targets of every other one move, and it follows. After each step the
 * thread compares what the step took with the frame's budget. The score line is the same for any number of threads.
 * Without a model file it makes do with a model that has seen a few straight lines, to show the calls. */
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <trajgan.hpp>

static const double step_ms = 1000.0 / 60; /* of the simulation, and the budget of a frame */
static const int steps = 900, pointers = 12;

static trajgan::Model model_of_lines() {
    trajgan::ModelOptions options(TG_PRESET_FAST);
    options.max_seq_len = 60;
    options.encoder_hidden_dim = options.expander_hidden_dim = 8;
    trajgan::Model model(options, TG_DEVICE_CPU);
    trajgan::Dataset data;
    for (int i = 0; i < 40; i++) {
        trajgan::Points line;
        for (int t = 0; t < 50; t++) line.push_back({(10.0 + i) * t, double(i % 4 * t), 16.0 * t});
        data.push(line);
    }
    for (tg_stage stage : {TG_STAGE_AUTOENCODER, TG_STAGE_GAN}) {
        trajgan::TrainOptions training(model, stage);
        training.iterations = 5;
        training.batch_size = 8;
        model.train(data, stage, training);
    }
    return model;
}

/* A pointer on its way from target to target. */
class Pointer {
public:
    Pointer(const trajgan::Model &model, uint32_t number)
        : model_(model), number_(number), random_(number + 1), place_{960, 540}, target_(anywhere()), stream_(begin()) {}

    void step(double now_ms) {
        bool there = false;
        const tg_point point = stream_.at(now_ms - began_ms_, &there);
        place_ = {point.x, point.y};
        if (there) {
            reached_ += place_.x == target_.x && place_.y == target_.y;
            began_ms_ = now_ms;
            target_ = anywhere();
            stream_ = begin();
        } else if (number_ % 2 && ++age_ % 10 == 0) { /* its target drifts */
            target_ = {std::min(target_.x + 5, 1919.0), target_.y};
            stream_.aim(target_);
        }
    }

    /* Targets reached, and the place it ended at: equal for equal seeds. */
    int reached() const { return reached_; }
    double place() const { return place_.x + place_.y; }

private:
    trajgan::Stream begin() {
        trajgan::PathOptions how;
        how.seed = number_;
        how.first = movements_++; /* another movement each time */
        return model_.stream(place_, target_, how);
    }

    /* On the screen, and not where it is. */
    trajgan::Place anywhere() {
        trajgan::Place to;
        do {
            to = {double(random(1920)), double(random(1080))};
        } while (std::abs(to.x - place_.x) + std::abs(to.y - place_.y) < 50);
        return to;
    }

    uint32_t random(uint32_t below) {
        random_ = random_ * 6364136223846793005u + 1442695040888963407u;
        return uint32_t(random_ >> 33) % below;
    }

    const trajgan::Model &model_;
    uint32_t number_;
    uint64_t random_, movements_ = 0;
    trajgan::Place place_, target_;
    double began_ms_ = 0;
    trajgan::Stream stream_;
    int reached_ = 0, age_ = 0;
};

/* Steps the pointers of one thread; took: milliseconds of each step. */
static void simulate(std::vector<Pointer> &mine, std::vector<double> &took) {
    using Clock = std::chrono::steady_clock;
    for (int k = 0; k < steps; k++) { /* a real loop waits for the next frame here */
        const Clock::time_point start = Clock::now();
        for (Pointer &pointer : mine) pointer.step(k * step_ms);
        took.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    }
}

static int run(int argc, char **argv) {
    trajgan::check_abi();
    const trajgan::Model model = argc > 1 && argv[1][0] ? trajgan::Model::load(argv[1]) : model_of_lines();
    const int count = argc > 2 ? std::max(1, std::atoi(argv[2])) : 3;

    std::vector<std::vector<Pointer>> crews(static_cast<std::size_t>(count));
    for (int i = 0; i < pointers; i++) crews[std::size_t(i % count)].emplace_back(model, uint32_t(i));
    std::vector<std::vector<double>> took(crews.size());
    std::vector<std::string> failed(crews.size());
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < crews.size(); i++)
        threads.emplace_back([&, i] {
            try {
                simulate(crews[i], took[i]);
            } catch (const std::exception &error) { /* it must not leave the thread */
                failed[i] = error.what();
            }
        });
    for (std::thread &thread : threads) thread.join();

    int reached = 0;
    double places = 0;
    std::vector<double> all;
    for (std::size_t i = 0; i < crews.size(); i++) {
        if (!failed[i].empty()) throw std::runtime_error(failed[i]);
        for (const Pointer &pointer : crews[i]) reached += pointer.reached(), places += pointer.place();
        all.insert(all.end(), took[i].begin(), took[i].end());
    }
    std::sort(all.begin(), all.end());
    const auto late = all.end() - std::upper_bound(all.begin(), all.end(), step_ms);
    std::printf("score: %d targets reached by %d pointers, which end at %.0f\n", reached, pointers, places);
    std::printf("%d threads, a frame takes %.3f ms (median), %.3f ms (p99), %.3f ms at most\n", count, all[all.size() / 2],
                all[all.size() * 99 / 100], all.back());
    std::printf("budget %.1f ms: %d of %d frames are late\n", step_ms, int(late), int(all.size()));
    /* One in ten is no longer the system's doing. */
    return reached == 0 || late * 10 > static_cast<std::ptrdiff_t>(all.size());
}

int main(int argc, char **argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
