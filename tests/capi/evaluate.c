/* A report on a model: JSON, a page, the same for the same seed, and what is refused. */
#include "check.h"

enum { ROOM = 65536 };

static char json[ROOM], again[ROOM];

int main(void) {
    tg_model *model = trained_model(TG_DECODER_CLOSED_LOOP), *blank = tiny_model(TG_DECODER_CLOSED_LOOP);
    tg_dataset *data = arcs(240), *few = arcs(60);
    tg_evaluate_options o;
    size_t needed = 0;
    OK(tg_evaluate_options_init(&o, sizeof o));
    CHECK(o.struct_size == sizeof o && o.quick == 0 && o.seed == 0);
    o.quick = 1;

    /* Before any work. */
    GIVES(TG_ERR_ARGUMENT, tg_evaluate_options_init(NULL, sizeof o));
    GIVES(TG_ERR_ARGUMENT, tg_evaluate(NULL, data, &o, NULL, json, ROOM, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_evaluate(model, NULL, &o, NULL, json, ROOM, NULL));
    SAYS("data is NULL");
    GIVES(TG_ERR_ARGUMENT, tg_evaluate(model, data, &o, NULL, NULL, 0, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_evaluate(model, data, &o, NULL, NULL, 9, &needed));
    GIVES(TG_ERR_ARGUMENT, tg_evaluate(model, data, &o, "", json, ROOM, NULL));
    SAYS("path is empty");
    GIVES(TG_ERR_STATE, tg_evaluate(blank, data, &o, NULL, json, ROOM, NULL));
    GIVES(TG_ERR_ARGUMENT, tg_evaluate(model, few, &o, NULL, json, ROOM, NULL));
    SAYS("20 or more");
    o.quick = 2;
    GIVES(TG_ERR_ARGUMENT, tg_evaluate(model, data, &o, NULL, json, ROOM, NULL));
    SAYS("quick is 2");
    o.quick = 1, o.threads = 5000;
    GIVES(TG_ERR_ARGUMENT, tg_evaluate(model, data, &o, NULL, json, ROOM, NULL));
    CHECK(json[0] == 0 && needed == 0);

    o.threads = 2;
    OK(tg_evaluate(model, data, &o, "page.html", json, ROOM, &needed));
    CHECK(json[0] == '{' && needed == strlen(json) + 1 && needed < ROOM);
    CHECK(strstr(json, "\"scores\"") && strstr(json, "\"floors\"") && strstr(json, "\"features\""));
    FILE *page = fopen("page.html", "r");
    CHECK(page != NULL && fread(again, 1, 15, page) == 15 && memcmp(again, "<!doctype html>", 15) == 0);
    fclose(page);

    /* No room: the page is not written either. */
    size_t told = 0;
    o.threads = 1;
    memset(again, 0, sizeof again);
    GIVES(TG_ERR_BUFFER, tg_evaluate(model, data, &o, "other.html", again, needed - 1, &told));
    CHECK(told == needed && again[0] == 0 && fopen("other.html", "r") == NULL);
    GIVES(TG_ERR_IO, tg_evaluate(model, data, &o, "nowhere/page.html", again, ROOM, NULL));
    CHECK(again[0] == 0);
    OK(tg_evaluate(model, data, &o, NULL, again, ROOM, NULL));
    CHECK(strcmp(json, again) == 0);

    tg_dataset_free(data);
    tg_dataset_free(few);
    tg_model_free(model);
    tg_model_free(blank);
    return 0;
}
