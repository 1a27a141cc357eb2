/* The closed-loop decoder: exact ends, own lengths, and what it does not do. */
#include "check.h"

enum { COUNT = 4 };

static int32_t watch(const tg_progress *p, void *user_data) {
    double *sum = user_data;
    if (p->stage == TG_STAGE_AUTOENCODER) {
        CHECK(p->step_nats > 0 && p->tick_nats > 0 && p->stop_nats > 0 && p->direct == 0);
        CHECK(fabs(p->step_nats + p->tick_nats + p->stop_nats - p->loss) < 1e-6);
    }
    *sum += p->validated ? p->validation_loss : 0;
    return 0;
}

int main(void) {
    tg_model *model = tiny_model(TG_DECODER_CLOSED_LOOP), *back = NULL;
    tg_dataset *data = arcs(60);
    tg_sample_options o;
    static tg_point points[COUNT * STEPS], again[COUNT * STEPS];
    uint32_t lengths[COUNT], lengths_again[COUNT];
    double validation = 0;
    for (int32_t stage = TG_STAGE_AUTOENCODER; stage <= TG_STAGE_GAN; stage++) {
        tg_train_options training = tiny_training(model, stage, 5);
        training.on_progress = watch;
        training.user_data = &validation;
        OK(tg_train_stage(model, data, stage, &training));
    }
    CHECK(validation > 0);

    OK(tg_sample_options_init(&o, sizeof o));
    CHECK(o.step_temperature == 1 && o.time_temperature == 1);
    const double distances[COUNT] = {20, 100, 150, 30};
    OK(tg_generate(model, distances, COUNT, &o, points, STEPS, lengths));
    for (int i = 0; i < COUNT; i++) {
        const tg_point *last = points + i * STEPS + lengths[i] - 1;
        CHECK(lengths[i] >= 2 && lengths[i] <= STEPS);
        CHECK(fabs(hypot(last->x, last->y) - distances[i]) < 1);
        CHECK(last->x == floor(last->x) && last->y == floor(last->y));
    }
    o.threads = 1024; /* of which one has work: valgrind allows for 499 */
    OK(tg_generate(model, distances, COUNT, &o, again, STEPS, lengths_again));
    CHECK(memcmp(points, again, sizeof points) == 0 && memcmp(lengths, lengths_again, sizeof lengths) == 0);
    OK(tg_generate(model, NULL, COUNT, &o, again, STEPS, lengths_again));
    o.step_temperature = 0;
    GIVES(TG_ERR_ARGUMENT, tg_generate(model, distances, COUNT, &o, again, STEPS, lengths_again));
    SAYS("step_temperature is 0");
    o.step_temperature = 1, o.candidates = 4097;
    GIVES(TG_ERR_ARGUMENT, tg_generate(model, distances, COUNT, &o, again, STEPS, lengths_again));
    SAYS("candidates is 4097");
    o.candidates = 2; /* of so few recordings nobody learns to choose */
    GIVES(TG_ERR_STATE, tg_generate(model, distances, COUNT, &o, again, STEPS, lengths_again));
    SAYS("200 training movements");
    o.candidates = 1;
    OK(tg_generate(model, distances, COUNT, &o, again, STEPS, lengths_again));
    CHECK(memcmp(points, again, sizeof points) == 0);
    o.candidates = 0, o.seq_len = 10;
    GIVES(TG_ERR_ARGUMENT, tg_generate(model, distances, COUNT, &o, again, STEPS, lengths_again));
    SAYS("seq_len is 10");

    float z[SUMMARY], features[STEPS * 8];
    OK(tg_encode(model, points, STEPS, lengths + 1, 1, 1, z, SUMMARY));
    GIVES(TG_ERR_STATE, tg_decode(model, z, lengths, 1, 1, points, STEPS));
    o.seq_len = 0;
    OK(tg_generate_features(model, distances, 1, &o, features, STEPS * 8, NULL));

    OK(tg_model_save(model, "walker.safetensors"));
    OK(tg_model_load("walker.safetensors", TG_DEVICE_CPU, &back));
    OK(tg_generate(back, distances, COUNT, NULL, again, STEPS, lengths_again));
    CHECK(memcmp(points, again, sizeof points) == 0);
    tg_model_free(back);
    tg_model_free(model);
    tg_dataset_free(data);
    return 0;
}
