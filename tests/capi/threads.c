/* Many threads on one model: shared calls go together, training goes alone, nobody waits. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "check.h"

enum { THREADS = 4, ROUNDS = 20 };

static tg_model *model;
static tg_dataset *data;
static tg_point expected[STEPS];
static uint32_t expected_length;

/* Each thread draws the same movement, and fails in its own way: errors are a thread's own. */
static void *draw(void *argument) {
    int id = (int)(size_t)argument;
    char text[64];
    snprintf(text, sizeof text, "stage is %d,", 10 + id);
    for (int i = 0; i < ROUNDS; i++) {
        tg_point points[STEPS];
        uint32_t length;
        size_t needed;
        OK(tg_generate(model, NULL, 1, NULL, points, STEPS, &length));
        CHECK(length == expected_length && memcmp(points, expected, sizeof points) == 0);
        OK(tg_model_info(model, NULL, 0, &needed));
        GIVES(TG_ERR_ARGUMENT, tg_train_stage(model, data, 10 + id, NULL));
        SAYS(text);
    }
    return NULL;
}

static atomic_int training, tried;

static int32_t hold(const tg_progress *progress, void *user_data) {
    (void)progress;
    (void)user_data;
    atomic_store(&training, 1);
    while (!atomic_load(&tried)) sched_yield();
    return 1;
}

static void *train(void *argument) {
    tg_train_options o = tiny_training(model, TG_STAGE_AUTOENCODER, 1000);
    (void)argument;
    o.on_progress = hold;
    GIVES(TG_ERR_CANCELLED, tg_train_stage(model, data, TG_STAGE_AUTOENCODER, &o));
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS], trainer;
    tg_point points[STEPS];
    uint32_t length;
    model = trained_model(TG_DECODER_V6);
    data = arcs(60);
    OK(tg_generate(model, NULL, 1, NULL, expected, STEPS, &expected_length));
    for (size_t i = 0; i < THREADS; i++) CHECK(pthread_create(threads + i, NULL, draw, (void *)i) == 0);
    for (size_t i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);

    CHECK(pthread_create(&trainer, NULL, train, NULL) == 0);
    while (!atomic_load(&training)) sched_yield();
    GIVES(TG_ERR_STATE, tg_generate(model, NULL, 1, NULL, points, STEPS, &length));
    GIVES(TG_ERR_STATE, tg_train_stage(model, data, TG_STAGE_GAN, NULL));
    GIVES(TG_ERR_STATE, tg_dataset_push(data, expected, expected_length, NULL));
    CHECK(tg_dataset_len(data) == 60);
    atomic_store(&tried, 1);
    CHECK(pthread_join(trainer, NULL) == 0);
    OK(tg_generate(model, NULL, 1, NULL, points, STEPS, &length));
    tg_dataset_free(data);
    tg_model_free(model);
    return 0;
}
