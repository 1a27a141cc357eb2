/* Moves a pointer in a frame loop: 3_stream MODEL [FROM_X FROM_Y TO_X TO_Y]
 *
 *     cc 3_stream.c -ltrajgan -o 3_stream && ./3_stream my.safetensors 100 100 900 500
 *
 * Every 16 ms it asks where the pointer is. A third of a second on, the target jumps, and the pointer follows. Without
 * a model file it makes do with a model that has seen a few straight lines, to show the calls. */
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
    options.max_seq_len = 60;
    options.encoder_hidden_dim = options.expander_hidden_dim = 8;
    check(tg_model_new(&options, TG_DEVICE_CPU, &model));
    check(tg_dataset_new(1, &data));
    for (i = 0; i < 40; i++) {
        tg_point points[50];
        for (t = 0; t < 50; t++) {
            points[t].x = (10.0 + i) * t;
            points[t].y = (i % 4) * t;
            points[t].t_ms = 16.0 * t;
        }
        check(tg_dataset_push(data, points, 50, NULL));
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
    double ends[4] = {100, 100, 900, 500}, t_ms;
    const double jump_ms = 333;
    int i, jumped = 0;
    uint32_t ended = 0;
    tg_path_options how;
    tg_model *model;
    tg_stream *stream;
    tg_point pointer;

    if (argc > 1) check(tg_model_load(argv[1], TG_DEVICE_AUTO, &model));
    else model = model_of_lines();
    for (i = 0; i < 4 && i + 2 < argc; i++) ends[i] = atof(argv[i + 2]);

    check(tg_path_options_init(&how, sizeof how));
    how.seed = 42;            /* the same movement every time */
    how.integer_pixels = 0;   /* frames fall between the points anyway */
    check(tg_stream_new(model, ends[0], ends[1], ends[2], ends[3], &how, &stream));
    tg_model_free(model); /* a stream keeps what it needs */

    printf("t_ms,x,y\n");
    for (t_ms = 0; !ended; t_ms += 16) { /* a real loop waits for the next frame here */
        if (!jumped && t_ms >= jump_ms) {
            check(tg_stream_aim(stream, ends[2], ends[1]));
            jumped = 1;
        }
        check(tg_stream_at(stream, t_ms, &pointer, &ended));
        printf("%.0f,%.1f,%.1f\n", pointer.t_ms, pointer.x, pointer.y);
    }
    tg_stream_free(stream);
    return 0;
}
