// The expander over a cluster of blocks: compute capability 9.0 and above.
#include "expander_group.h"

EXPANDER_GROUP_FORWARD(expander_forward_cluster, ByCluster)
EXPANDER_GROUP_BACKWARD(expander_backward_cluster, ByCluster)
