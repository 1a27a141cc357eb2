/* Draws movements from a model file and prints them: 1_generate MODEL [COUNT [DISTANCE]]
 *
 *     cc 1_generate.c -ltrajgan -o 1_generate && ./1_generate my.safetensors 3 400
 *
 * Without a model file it makes do with a model that has seen forty straight lines, to show the calls. */
#include <stdio.h>
#include <stdlib.h>

#include <trajgan.h>

static void check(tg_status status) {
    if (status == TG_OK) return;
    fprintf(stderr, "%s: %s\n", tg_status_name(status), tg_last_error());
    exit(1);
}

static tg_model *model_of_lines(void) {
    tg_model_options options;
    tg_model *model;
    tg_dataset *data;
    int32_t stage;
    int i, t;
    check(tg_model_options_init(&options, sizeof options, TG_PRESET_FAST, TG_DECODER_CLOSED_LOOP));
    options.max_seq_len = 40;
    options.encoder_hidden_dim = options.expander_hidden_dim = 8;
    check(tg_model_new(&options, TG_DEVICE_CPU, &model));
    check(tg_dataset_new(1, &data));
    for (i = 0; i < 40; i++) {
        tg_point points[30];
        for (t = 0; t < 30; t++) {
            points[t].x = (10.0 + i) * t;
            points[t].y = (i % 4) * t;
            points[t].t_ms = 8.0 * t;
        }
        check(tg_dataset_push(data, points, 30, NULL));
    }
    for (stage = TG_STAGE_AUTOENCODER; stage <= TG_STAGE_GAN; stage++) {
        tg_train_options training;
        check(tg_train_options_init(&training, sizeof training, stage, model));
        training.iterations = 5;
        training.batch_size = 8;
        check(tg_train_stage(model, data, stage, &training));
    }
    tg_dataset_free(data);
    return model;
}

int main(int argc, char **argv) {
    size_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 3, i, t;
    tg_model *model;
    tg_model_options is;
    tg_sample_options how;

    if (argc > 1) check(tg_model_load(argv[1], TG_DEVICE_AUTO, &model));
    else model = model_of_lines();

    check(tg_model_options_get(model, &is, sizeof is)); /* how long a movement can be */
    tg_point *points = malloc(count * is.max_seq_len * sizeof *points);
    uint32_t *lengths = malloc(count * sizeof *lengths);
    double *distances = malloc(count * is.condition_dim * sizeof *distances);
    if (points == NULL || lengths == NULL || distances == NULL) return 1;
    for (i = 0; i < count * is.condition_dim; i++) distances[i] = argc > 3 ? atof(argv[3]) : 300.0;

    check(tg_sample_options_init(&how, sizeof how));
    how.seed = 42; /* the same movements every time */
    check(tg_generate(model, distances, count, &how, points, is.max_seq_len, lengths));

    printf("movement,x,y,t_ms\n");
    for (i = 0; i < count; i++)
        for (t = 0; t < lengths[i]; t++) {
            const tg_point *p = points + i * is.max_seq_len + t;
            printf("%zu,%.2f,%.2f,%.1f\n", i, p->x, p->y, p->t_ms);
        }

    free(points);
    free(lengths);
    free(distances);
    tg_model_free(model);
    return 0;
}
