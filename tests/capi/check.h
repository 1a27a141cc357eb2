/* What the test programs share: checks that say where they failed, a tiny model, and a data set for it. */
#ifndef CHECK_H
#define CHECK_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trajgan.h"

#define CHECK(condition)                                                                    \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            printf("%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, tg_last_error());    \
            exit(1);                                                                        \
        }                                                                                   \
    } while (0)

/* The call gives this code, and an error its words. */
#define GIVES(code, call)                                                                              \
    do {                                                                                               \
        tg_status got_ = (call);                                                                       \
        if (got_ != (code)) {                                                                          \
            printf("%s:%d: %s gives %s, not %s (%s)\n", __FILE__, __LINE__, #call, tg_status_name(got_), \
                   tg_status_name(code), tg_last_error());                                             \
            exit(1);                                                                                   \
        }                                                                                              \
        CHECK(got_ == TG_OK || tg_last_error()[0] != 0);                                               \
    } while (0)

#define OK(call) GIVES(TG_OK, call)

/* The last error contains this text. */
#define SAYS(text) CHECK(strstr(tg_last_error(), (text)) != NULL)

enum { STEPS = 24, SUMMARY = 8 };

static inline tg_model_options tiny_options(int32_t decoder) {
    tg_model_options o;
    OK(tg_model_options_init(&o, sizeof o, TG_PRESET_FAST, decoder));
    o.max_seq_len = STEPS;
    o.latent_dim = o.summary_dim = o.noise_dim = SUMMARY;
    o.encoder_hidden_dim = o.decoder_hidden_dim = o.expander_hidden_dim = 8;
    o.encoder_num_layers = o.decoder_num_layers = o.expander_num_layers = 1;
    memset(o.generator_hidden_dims, 0, sizeof o.generator_hidden_dims);
    memset(o.critic_hidden_dims, 0, sizeof o.critic_hidden_dims);
    o.generator_hidden_dims[0] = o.critic_hidden_dims[0] = 8;
    o.seed = 1;
    return o;
}

static inline tg_model *tiny_model(int32_t decoder) {
    tg_model_options o = tiny_options(decoder);
    tg_model *model = NULL;
    OK(tg_model_new(&o, TG_DEVICE_CPU, &model));
    return model;
}

/* Movement i: an arc of 12 to 23 points. */
static inline uint32_t arc(uint32_t i, tg_point *points) {
    uint32_t n = 12 + i % 12;
    double distance = 100.0 + 10.0 * (i % 17);
    for (uint32_t t = 0; t < n; t++) {
        double s = (double)t / (n - 1), ease = s * s * (3 - 2 * s);
        points[t].x = 50 + distance * ease * cos(0.3 * i);
        points[t].y = 80 + distance * ease * sin(0.3 * i) + 10 * sin(3.14159 * s);
        points[t].t_ms = 1000 + 8.0 * t + (t * i % 3);
    }
    return n;
}

static inline tg_dataset *arcs(uint32_t count) {
    tg_dataset *data = NULL;
    tg_point points[STEPS];
    OK(tg_dataset_new(1, &data));
    for (uint32_t i = 0; i < count; i++) OK(tg_dataset_push(data, points, arc(i, points), NULL));
    return data;
}

static inline tg_train_options tiny_training(const tg_model *model, int32_t stage, uint64_t iterations) {
    tg_train_options o;
    OK(tg_train_options_init(&o, sizeof o, stage, model));
    o.iterations = iterations;
    o.batch_size = 8;
    o.n_critic = 1;
    o.threads = 1;
    o.log_interval = o.eval_interval = 5;
    return o;
}

/* A model that has been through both stages. */
static inline tg_model *trained_on(int32_t decoder, uint32_t count) {
    tg_model *model = tiny_model(decoder);
    tg_dataset *data = arcs(count);
    for (int32_t stage = TG_STAGE_AUTOENCODER; stage <= TG_STAGE_GAN; stage++) {
        tg_train_options o = tiny_training(model, stage, 2);
        OK(tg_train_stage(model, data, stage, &o));
    }
    tg_dataset_free(data);
    return model;
}

static inline tg_model *trained_model(int32_t decoder) { return trained_on(decoder, 60); }

/* One that has learnt to choose among walks: of fewer movements it would not. */
static inline tg_model *choosing_model(void) { return trained_on(TG_DECODER_CLOSED_LOOP, 340); }

#endif
