// Tests of all kernels on the CPU. `--brief` leaves out the largest sizes: for sanitised builds. `--until-failure` is brief
// and ends with the first: for kernels with planted faults.
#include "test_matrix.h"
#include "test_recurrent.h"
#include "test_rows.h"
#include "test_training.h"
#include "test_walk.h"
#include "test_walker.h"

int main(int count, char** arguments) {
    const std::string option = count > 1 ? arguments[1] : "";
    check::until_failure = option == "--until-failure";
    check::brief = check::until_failure || option == "--brief";
    test_matrix::all();
    test_rows::all();
    test_training::all();
    test_recurrent::all();
    test_walk::all();
    test_walker::all();
    printf("%d passed, %d failed\n", check::passed, check::failed);
    return check::failed != 0;
}
