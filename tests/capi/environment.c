/* What the host has set up has no influence on results, and is as it was after each call: floating-point state,
 * small stacks, fork, a great many handles. */
#include <limits.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static tg_point reference[STEPS];
static uint32_t reference_length;

static void compare(const tg_model *model) {
    tg_point points[STEPS];
    uint32_t length;
    OK(tg_generate(model, NULL, 1, NULL, points, STEPS, &length));
    CHECK(length == reference_length && memcmp(points, reference, sizeof points) == 0);
}

/* The floating-point state: one word, of which FLAGS say what has happened. */
#if defined(__x86_64__)
#include <xmmintrin.h>
#define FLAGS 0x3fu
#define USUAL 0x1f80u
static const unsigned odd[] = {
    0x9fc0, /* flush to zero, denormals are zero */
    0xdfc0, /* and round up */
    0x7f80, /* round towards zero */
};
#define get_state() ((unsigned)_mm_getcsr())
#define set_state(state) _mm_setcsr(state)
#elif defined(__aarch64__)
#define FLAGS 0u
#define USUAL 0u
static const unsigned odd[] = {
    1u << 24,            /* flush to zero */
    1u << 24 | 1u << 22, /* and round up */
    3u << 22,            /* round towards zero */
};

static unsigned get_state(void) {
    uint64_t state;
    __asm__ volatile("mrs %0, fpcr" : "=r"(state) : : "memory");
    return (unsigned)state;
}

static void set_state(unsigned state) {
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)state) : "memory");
}
#endif

#ifdef FLAGS
static unsigned in_callback;

static int32_t note(const tg_progress *progress, void *user_data) {
    (void)progress;
    (void)user_data;
    in_callback = get_state() & ~FLAGS;
    set_state(USUAL); /* the library goes on as it was, and the host has its own again afterwards */
    return 0;
}

/* Training and drawing under a foreign floating-point state give the same bits and leave it alone. */
static void float_state(unsigned state) {
    tg_model *model;
    tg_dataset *data = arcs(60); /* with the host's own numbers as usual */
    set_state(state);
    state = get_state(); /* valgrind keeps the rounding mode only */
    model = tiny_model(TG_DECODER_V6);
    for (int32_t stage = TG_STAGE_AUTOENCODER; stage <= TG_STAGE_GAN; stage++) {
        tg_train_options o = tiny_training(model, stage, 2);
        o.threads = 2;
        o.on_progress = note;
        OK(tg_train_stage(model, data, stage, &o));
        CHECK((get_state() & ~FLAGS) == (state & ~FLAGS) && in_callback == (state & ~FLAGS));
        GIVES(TG_ERR_ARGUMENT, tg_train_stage(model, data, 9, &o));
        CHECK((get_state() & ~FLAGS) == (state & ~FLAGS));
    }
    compare(model);
    CHECK((get_state() & ~FLAGS) == (state & ~FLAGS));
    tg_dataset_free(data);
    tg_model_free(model);
    CHECK((get_state() & ~FLAGS) == (state & ~FLAGS));
    set_state(USUAL);
}
#endif

/* One recording, gzipped. */
static const unsigned char packed[] = {
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 29, 140, 177, 13, 128, 48, 12, 192, 118, 206, 232, 236, 33,
    77, 147, 80, 120, 5, 245, 11, 6, 16, 226, 119, 74, 36, 111, 182, 252, 148, 171, 236, 135, 176,
    161, 66, 115, 172, 227, 43, 161, 132, 17, 62, 25, 148, 59, 139, 74, 195, 233, 179, 172, 146,
    212, 201, 180, 103, 218, 78, 13, 212, 104, 138, 73, 94, 226, 95, 172, 58, 222, 229, 3, 39, 85,
    21, 189, 100, 0, 0, 0
};

static void *on_a_small_stack(void *model) {
    tg_dataset *data;
    compare(model);
    FILE *file = fopen("packed.jsonl.gz", "wb");
    CHECK(file && fwrite(packed, sizeof packed, 1, file) == 1 && fclose(file) == 0);
    OK(tg_dataset_open("packed.jsonl.gz", NULL, &data));
    tg_dataset_free(data);
    return NULL;
}

static void small_stack(tg_model *model) {
    pthread_attr_t attributes;
    pthread_t thread;
    size_t size = 64 * 1024;
    if (size < (size_t)PTHREAD_STACK_MIN) size = (size_t)PTHREAD_STACK_MIN;
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, size) == 0);
    CHECK(pthread_create(&thread, &attributes, on_a_small_stack, model) == 0);
    CHECK(pthread_join(thread, NULL) == 0 && pthread_attr_destroy(&attributes) == 0);
}

/* In a child process the parent's handles are refused and may be freed, and new ones work. */
static void forked(tg_model *model) {
    int status = 1;
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        tg_point points[STEPS];
        uint32_t length;
        alarm(60);
        GIVES(TG_ERR_STATE, tg_generate(model, NULL, 1, NULL, points, STEPS, &length));
        SAYS("forked");
        tg_model_free(model);
        tg_model *own = trained_model(TG_DECODER_V6);
        compare(own);
        tg_model_free(own);
        fflush(stdout);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    compare(model);
}

static void many_handles(void) {
    for (int i = 0; i < 50; i++) {
        tg_dataset *data = arcs(1);
        tg_model *model = tiny_model(TG_DECODER_V6);
        tg_model_free(model);
        tg_dataset_free(data);
    }
}

int main(void) {
    tg_model *model = trained_model(TG_DECODER_V6);
    OK(tg_generate(model, NULL, 1, NULL, reference, STEPS, &reference_length));
    compare(model);
#ifdef FLAGS
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) float_state(odd[i]);
#endif
    small_stack(model);
    forked(model);
    many_handles();
    tg_model_free(model);
    return 0;
}
