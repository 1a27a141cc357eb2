/* Learns from recordings, with progress and cancel: 2_train RECORDINGS MODEL [ITERATIONS]
 *
 *     cc 2_train.c -ltrajgan -lm -o 2_train && ./2_train recordings/ my.safetensors
 *
 * Ctrl-C stops after the iteration that is running; what has been learnt is kept, and the next run with the same MODEL
 * goes on from there. Without arguments it makes a few recordings up, to show the calls. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <trajgan.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
    (void)number;
    interrupted = 1;
}

static void check(tg_status status) {
    if (status == TG_OK) return;
    fprintf(stderr, "%s: %s\n", tg_status_name(status), tg_last_error());
    exit(1);
}

/* Called after every iteration. Anything but 0 stops. */
static int32_t on_progress(const tg_progress *p, void *user_data) {
    const uint64_t *every = user_data;
    if (p->iteration % *every == 0 || p->iteration == p->iterations)
        printf("stage %d  %llu/%llu  loss %.4f  %.0f s\n", (int)p->stage, (unsigned long long)p->iteration,
               (unsigned long long)p->iterations, p->loss, p->seconds);
    return interrupted;
}

static tg_dataset *made_up(void) {
    tg_dataset *data;
    tg_point points[40];
    int i, t;
    check(tg_dataset_new(1, &data));
    for (i = 0; i < 60; i++) {
        for (t = 0; t < 40; t++) {
            double s = t / 39.0, ease = s * s * s * (10 - 15 * s + 6 * s * s); /* minimum jerk */
            points[t].x = (100 + 5 * i) * ease * cos(i);
            points[t].y = (100 + 5 * i) * ease * sin(i);
            points[t].t_ms = 8.0 * t;
        }
        check(tg_dataset_push(data, points, 40, NULL));
    }
    return data;
}

int main(int argc, char **argv) {
    const char *path = argc > 2 ? argv[2] : "my.safetensors";
    uint64_t iterations = argc > 3 ? strtoull(argv[3], NULL, 10) : argc > 1 ? 0 : 10;
    uint64_t every = iterations > 0 && iterations < 100 ? 5 : 100;
    tg_dataset *data;
    tg_model *model;
    FILE *file;
    int32_t stage;
    signal(SIGINT, on_signal);

    if (argc > 1) check(tg_dataset_open(argv[1], NULL, &data));
    else data = made_up();
    printf("%zu movements\n", tg_dataset_len(data));

    /* The model of an earlier run, or a new one. A file that is there but cannot be read is not to be replaced. */
    file = fopen(path, "rb");
    if (file || errno != ENOENT) {
        if (file) fclose(file);
        check(tg_model_load(path, TG_DEVICE_AUTO, &model));
    } else {
        tg_model_options options;
        int32_t preset = argc > 1 ? TG_PRESET_DEFAULT : TG_PRESET_FAST;
        check(tg_model_options_init(&options, sizeof options, preset, TG_DECODER_CLOSED_LOOP));
        if (argc <= 1) options.max_seq_len = 64;
        check(tg_model_new(&options, TG_DEVICE_AUTO, &model));
    }

    for (stage = TG_STAGE_AUTOENCODER; stage <= TG_STAGE_GAN; stage++) {
        tg_train_options training;
        tg_status status;
        check(tg_train_options_init(&training, sizeof training, stage, model));
        if (iterations > 0) training.iterations = iterations;
        training.checkpoint_path = path; /* every save_interval iterations */
        training.on_progress = on_progress;
        training.user_data = &every;
        status = tg_train_stage(model, data, stage, &training);
        if (status == TG_ERR_CANCELLED) {
            printf("%s; run again to go on\n", tg_last_error());
            break;
        }
        check(status);
    }
    check(tg_model_save(model, path));
    printf("saved %s\n", path);
    tg_model_free(model);
    tg_dataset_free(data);
    return 0;
}
