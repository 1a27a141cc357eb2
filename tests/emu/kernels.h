// All kernels as C++. Each file has a namespace of its own for what it keeps to itself.
#pragma once
#define TG_CPU_EMU
#include "../../kernels/tg_cuda.h"

namespace expander {
#include "../../kernels/expander.cu"
}
namespace expander_cluster {
#include "../../kernels/expander_cluster.cu"
}
namespace expander_group {
#include "../../kernels/expander_group.cu"
}
namespace gan {
#include "../../kernels/gan.cu"
}
namespace losses {
#include "../../kernels/losses.cu"
}
namespace lstm {
#include "../../kernels/lstm.cu"
}
namespace lstm_resident {
#include "../../kernels/lstm_resident.cu"
}
namespace matrix {
#include "../../kernels/matrix.cu"
}
namespace matrix_tf32 {
#include "../../kernels/matrix_tf32.cu"
}
namespace norm {
#include "../../kernels/norm.cu"
}
namespace optim {
#include "../../kernels/optim.cu"
}
namespace pool {
#include "../../kernels/pool.cu"
}
namespace random_numbers {
#include "../../kernels/random.cu"
}
namespace rows_of {
#include "../../kernels/rows.cu"
}
namespace spectral {
#include "../../kernels/spectral.cu"
}
namespace steps {
#include "../../kernels/steps.cu"
}
namespace walk_of {
#include "../../kernels/walk.cu"
}
namespace walker {
#include "../../kernels/walker.cu"
}

using namespace expander;
using namespace expander_cluster;
using namespace expander_group;
using namespace gan;
using namespace losses;
using namespace lstm;
using namespace lstm_resident;
using namespace matrix;
using namespace matrix_tf32;
using namespace norm;
using namespace optim;
using namespace pool;
using namespace random_numbers;
using namespace rows_of;
using namespace spectral;
using namespace steps;
using namespace walk_of;
using namespace walker;
