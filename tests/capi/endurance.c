/* Over and over: a model's whole life, many times, under a storm of signals and in a foreign locale. Nothing is left
 * behind: no memory, no file descriptor, no thread; and the results are those of a quiet process. */
#define _DEFAULT_SOURCE
#include <dirent.h>
#include <locale.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include "check.h"

static volatile sig_atomic_t alarms;

static void on_alarm(int number) {
    (void)number;
    alarms++;
}

/* Interrupts system calls: the handler is set without SA_RESTART. */
static void storm(long microseconds) {
    struct sigaction action;
    struct itimerval every = {{0, microseconds}, {0, microseconds}};
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &every, NULL) == 0);
}

/* valgrind and the sanitizer keep what is freed, and take their time. */
static int watched(void) {
#if defined(__SANITIZE_ADDRESS__)
    return 1;
#else
    const char *preload = getenv("LD_PRELOAD");
    return preload != NULL && strstr(preload, "valgrind") != NULL;
#endif
}

static int entries(const char *folder) {
    int n = 0;
    DIR *d = opendir(folder);
    CHECK(d != NULL);
    while (readdir(d) != NULL) n++;
    CHECK(closedir(d) == 0);
    return n;
}

static long resident_kib(void) {
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f != NULL && fscanf(f, "%*d %ld", &pages) == 1 && fclose(f) == 0);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static tg_point first[STEPS];
static uint32_t first_length;

static void life(void) {
    tg_model *model = tiny_model(TG_DECODER_V6), *back = NULL;
    tg_dataset *data = arcs(60);
    tg_point points[STEPS];
    uint32_t length;
    for (int32_t stage = TG_STAGE_AUTOENCODER; stage <= TG_STAGE_GAN; stage++) {
        tg_train_options o = tiny_training(model, stage, 2);
        o.threads = 2;
        OK(tg_train_stage(model, data, stage, &o));
    }
    OK(tg_model_save(model, "m.safetensors"));
    OK(tg_model_load("m.safetensors", TG_DEVICE_CPU, &back));
    GIVES(TG_ERR_IO, tg_model_load("none.safetensors", TG_DEVICE_CPU, &model));
    OK(tg_generate(back, NULL, 1, NULL, points, STEPS, &length));
    if (first_length == 0) {
        memcpy(first, points, sizeof points);
        first_length = length;
    }
    CHECK(length == first_length && memcmp(points, first, sizeof points) == 0);
    tg_model_free(back);
    tg_model_free(model);
    tg_dataset_free(data);
}

static void foreign_locale(void) {
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "de_DE", "fr_FR.UTF-8"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (setlocale(LC_ALL, names[i]) != NULL) return;
    }
    printf("no locale with a decimal comma is installed: tried without\n");
}

int main(void) {
    int rounds = watched() ? 3 : 100, descriptors, threads;
    long before, grown;
    life();
    foreign_locale();
    storm(watched() ? 20000 : 500);
    for (int i = 0; i < rounds / 3; i++) life();
    descriptors = entries("/proc/self/fd");
    threads = entries("/proc/self/task");
    before = resident_kib();
    for (int i = 0; i < rounds; i++) life();
    storm(0);
    grown = resident_kib() - before;
    printf("%d lives, %d signals, %ld KiB more\n", rounds, (int)alarms, grown);
    CHECK(entries("/proc/self/fd") == descriptors && entries("/proc/self/task") == threads);
    CHECK(alarms > 0);
    CHECK(watched() || grown < 1024);
    CHECK(access(".m.safetensors.saving", F_OK) != 0);
    return 0;
}
