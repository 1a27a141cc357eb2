/* Training: order, progress, cancel, and what a callback may do. */
#include "check.h"

typedef struct {
    tg_model *model;
    tg_dataset *data;
    uint64_t calls, stop_at, validated;
    int32_t stage;
    int free_it, probe;
} watcher;

/* Every call on the handles that are in use is refused, and changes nothing. */
static void calls_from_inside(watcher *w) {
    tg_point points[STEPS];
    uint32_t length = STEPS;
    float z[2 * SUMMARY] = {0};
    char json[8];
    size_t needed = 7;
    tg_model_options mo;
    tg_train_options to;
    arc(0, points);
    GIVES(TG_ERR_STATE, tg_train_stage(w->model, w->data, TG_STAGE_AUTOENCODER, NULL));
    GIVES(TG_ERR_STATE, tg_generate(w->model, NULL, 1, NULL, points, STEPS, &length));
    GIVES(TG_ERR_STATE, tg_generate_features(w->model, NULL, 0, NULL, NULL, 0, NULL));
    GIVES(TG_ERR_STATE, tg_encode(w->model, points, STEPS, &length, 1, 1, z, SUMMARY));
    GIVES(TG_ERR_STATE, tg_decode(w->model, z, &length, 1, 1, points, STEPS));
    GIVES(TG_ERR_STATE, tg_interpolate(w->model, z, z, 2, z, 2 * SUMMARY));
    GIVES(TG_ERR_STATE, tg_model_save(w->model, "inside.safetensors"));
    GIVES(TG_ERR_STATE, tg_model_info(w->model, json, sizeof json, &needed));
    GIVES(TG_ERR_STATE, tg_model_options_get(w->model, &mo, sizeof mo));
    GIVES(TG_ERR_STATE, tg_train_options_init(&to, sizeof to, TG_STAGE_GAN, w->model));
    GIVES(TG_ERR_STATE, tg_dataset_push(w->data, points, 12, NULL));
    SAYS("around this callback");
    CHECK(tg_dataset_len(w->data) == 60 && length == STEPS && needed == 7);
    CHECK(fopen("inside.safetensors", "r") == NULL);
    /* Reading the data set is shared; another model is another handle. */
    OK(tg_dataset_info(w->data, NULL, 0, &needed));
    tg_model *other = tiny_model(TG_DECODER_V6);
    tg_train_options o = tiny_training(other, TG_STAGE_AUTOENCODER, 1);
    OK(tg_train_stage(other, w->data, TG_STAGE_AUTOENCODER, &o));
    tg_model_free(other);
}

static int32_t watch(const tg_progress *p, void *user_data) {
    watcher *w = user_data;
    CHECK(p->struct_size == sizeof *p && p->stage == w->stage);
    CHECK(p->iteration >= 1 && p->iteration <= p->iterations);
    CHECK(isfinite(p->loss) && p->seconds >= 0);
    w->calls++;
    w->validated += p->validated;
    if (w->probe && w->calls == 1) calls_from_inside(w);
    if (w->free_it && w->calls == 2) tg_model_free(w->model);
    return w->stop_at != 0 && w->calls >= w->stop_at;
}

static tg_status train(watcher *w, int32_t stage, uint64_t iterations) {
    tg_train_options o = tiny_training(w->model, stage, iterations);
    o.on_progress = watch;
    o.user_data = w;
    w->stage = stage;
    w->calls = w->validated = 0;
    return tg_train_stage(w->model, w->data, stage, &o);
}

static void order_and_progress(tg_dataset *data) {
    watcher w = {.model = tiny_model(TG_DECODER_V6), .data = data};
    tg_point points[STEPS];
    uint32_t length;
    GIVES(TG_ERR_STATE, tg_generate(w.model, NULL, 1, NULL, points, STEPS, &length));
    GIVES(TG_ERR_STATE, train(&w, TG_STAGE_GAN, 5));
    CHECK(w.calls == 0);
    GIVES(TG_ERR_ARGUMENT, tg_train_stage(w.model, data, 0, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_train_stage(w.model, data, 3, NULL));
    OK(train(&w, TG_STAGE_AUTOENCODER, 10));
    CHECK(w.calls == 10 && w.validated == 2);
    OK(train(&w, TG_STAGE_GAN, 5));
    CHECK(w.calls == 5);
    tg_train_options o = tiny_training(w.model, TG_STAGE_GAN, 6);
    o.batch_size = 0; /* as in stage 1 */
    OK(tg_train_stage(w.model, data, TG_STAGE_GAN, &o));
    OK(tg_generate(w.model, NULL, 1, NULL, points, STEPS, &length));
    tg_model_free(w.model);
}

static void wrong_settings(tg_dataset *data) {
    tg_model *model = tiny_model(TG_DECODER_V6);
    tg_dataset *empty, *wide;
    tg_train_options o = tiny_training(model, TG_STAGE_AUTOENCODER, 5), bad;
    OK(tg_dataset_new(1, &empty));
    OK(tg_dataset_new(2, &wide));
    tg_point points[STEPS];
    const double condition[2] = {1, 2};
    OK(tg_dataset_push(wide, points, arc(0, points), condition));
    GIVES(TG_ERR_ARGUMENT, tg_train_stage(model, empty, TG_STAGE_AUTOENCODER, &o));
    GIVES(TG_ERR_ARGUMENT, tg_train_stage(model, wide, TG_STAGE_AUTOENCODER, &o));
    SAYS("condition_dim");
    bad = o, bad.learning_rate = NAN;
    GIVES(TG_ERR_ARGUMENT, tg_train_stage(model, data, TG_STAGE_AUTOENCODER, &bad));
    SAYS("NaN");
    bad = o, bad.batch_size = 0;
    GIVES(TG_ERR_ARGUMENT, tg_train_stage(model, data, TG_STAGE_AUTOENCODER, &bad));
    bad = o, bad.optimizer = 3;
    GIVES(TG_ERR_ARGUMENT, tg_train_stage(model, data, TG_STAGE_AUTOENCODER, &bad));
    bad = o, bad.schedule = -1;
    GIVES(TG_ERR_ARGUMENT, tg_train_stage(model, data, TG_STAGE_AUTOENCODER, &bad));
    bad = o, bad.threads = 100000;
    GIVES(TG_ERR_ARGUMENT, tg_train_stage(model, data, TG_STAGE_AUTOENCODER, &bad));
    SAYS("threads is 100000");
    bad = o, bad.checkpoint_path = "\xff";
    GIVES(TG_ERR_ARGUMENT, tg_train_stage(model, data, TG_STAGE_AUTOENCODER, &bad));
    /* None of this has broken it. */
    OK(tg_train_stage(model, data, TG_STAGE_AUTOENCODER, &o));
    tg_dataset_free(empty);
    tg_dataset_free(wide);
    tg_model_free(model);
}

/* What is known of data comes with the first iteration: none of these movements is as far as the others. */
static void no_iterations(tg_dataset *data) {
    tg_dataset *other;
    OK(tg_dataset_new(1, &other));
    for (uint32_t i = 0; i < 60; i++) {
        tg_point points[12];
        for (uint32_t t = 0; t < 12; t++) points[t] = (tg_point){(1 + i % 3) * t / 2.0, 0, 50 * t};
        OK(tg_dataset_push(other, points, 12, NULL));
    }
    for (int32_t decoder = TG_DECODER_CLOSED_LOOP; decoder <= TG_DECODER_V6; decoder++) {
        tg_point points[2][10 * STEPS];
        uint32_t lengths[2][10];
        for (int nothing = 0; nothing < 2; nothing++) {
            tg_model *model = tiny_model(decoder);
            tg_train_options o = tiny_training(model, TG_STAGE_AUTOENCODER, 0);
            if (nothing) {
                float z[SUMMARY];
                uint32_t length = arc(0, points[1]);
                OK(tg_train_stage(model, other, TG_STAGE_AUTOENCODER, &o));
                GIVES(TG_ERR_STATE, tg_encode(model, points[1], STEPS, &length, 1, 1, z, SUMMARY));
                SAYS("has not been trained");
            }
            for (int32_t stage = TG_STAGE_AUTOENCODER; stage <= TG_STAGE_GAN; stage++) {
                o = tiny_training(model, stage, 3);
                OK(tg_train_stage(model, data, stage, &o));
            }
            OK(tg_generate(model, NULL, 10, NULL, points[nothing], STEPS, lengths[nothing]));
            tg_model_free(model);
        }
        CHECK(memcmp(lengths[0], lengths[1], sizeof lengths[0]) == 0);
        CHECK(memcmp(points[0], points[1], sizeof points[0]) == 0);
    }
    tg_dataset_free(other);
}

static void cancel(tg_dataset *data) {
    watcher w = {.model = tiny_model(TG_DECODER_V6), .data = data, .stop_at = 1};
    GIVES(TG_ERR_CANCELLED, train(&w, TG_STAGE_AUTOENCODER, 20));
    CHECK(w.calls == 1);
    w.stop_at = 4;
    GIVES(TG_ERR_CANCELLED, train(&w, TG_STAGE_AUTOENCODER, 10));
    CHECK(w.calls == 4);
    w.stop_at = 0;
    OK(train(&w, TG_STAGE_AUTOENCODER, 10));
    CHECK(w.calls == 5); /* cancelled iterations are kept */
    OK(train(&w, TG_STAGE_AUTOENCODER, 10));
    CHECK(w.calls == 0);
    tg_model_free(w.model);
}

static void inside_the_callback(tg_dataset *data) {
    watcher w = {.model = tiny_model(TG_DECODER_V6), .data = data, .probe = 1};
    OK(train(&w, TG_STAGE_AUTOENCODER, 5));
    tg_model_free(w.model);
    /* Freeing the model stops the training; the memory goes when the call does. */
    watcher f = {.model = tiny_model(TG_DECODER_V6), .data = data, .free_it = 1};
    GIVES(TG_ERR_CANCELLED, train(&f, TG_STAGE_AUTOENCODER, 20));
    CHECK(f.calls == 2);
}

static void checkpoints(tg_dataset *data) {
    tg_model *model = tiny_model(TG_DECODER_V6), *back = NULL;
    tg_train_options o = tiny_training(model, TG_STAGE_AUTOENCODER, 10);
    o.save_interval = 4;
    o.checkpoint_path = "checkpoint.safetensors";
    OK(tg_train_stage(model, data, TG_STAGE_AUTOENCODER, &o));
    OK(tg_model_load("checkpoint.safetensors", TG_DEVICE_CPU, &back));
    /* The last one was made at iteration 8: two are left, and lead to the same weights. */
    watcher w = {.model = back, .data = data, .stage = TG_STAGE_AUTOENCODER};
    o.checkpoint_path = NULL;
    o.on_progress = watch;
    o.user_data = &w;
    OK(tg_train_stage(back, data, TG_STAGE_AUTOENCODER, &o));
    CHECK(w.calls == 2);
    tg_point points[STEPS];
    float z[2][SUMMARY];
    uint32_t length = arc(3, points);
    OK(tg_encode(model, points, STEPS, &length, 1, 1, z[0], SUMMARY));
    OK(tg_encode(back, points, STEPS, &length, 1, 1, z[1], SUMMARY));
    CHECK(memcmp(z[0], z[1], sizeof z[0]) == 0);
    tg_model_free(back);

    o = tiny_training(model, TG_STAGE_AUTOENCODER, 20);
    o.save_interval = 1;
    o.checkpoint_path = "no/such/folder/m.safetensors";
    GIVES(TG_ERR_IO, tg_train_stage(model, data, TG_STAGE_AUTOENCODER, &o));
    SAYS("no/such/folder");
    tg_model_free(model);
}

int main(void) {
    tg_dataset *data = arcs(60);
    order_and_progress(data);
    wrong_settings(data);
    no_iterations(data);
    cancel(data);
    inside_the_callback(data);
    checkpoints(data);
    tg_dataset_free(data);
    return 0;
}
