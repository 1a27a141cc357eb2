// Tests of all kernels on the CPU. `--brief` leaves out the largest sizes: for sanitised builds.
#include "test_matrix.h"
#include "test_recurrent.h"
#include "test_rows.h"
#include "test_training.h"

int main(int count, char** arguments) {
    check::brief = count > 1 && strcmp(arguments[1], "--brief") == 0;
    test_matrix::all();
    test_rows::all();
    test_training::all();
    test_recurrent::all();
    printf("%d passed, %d failed\n", check::passed, check::failed);
    return check::failed != 0;
}
