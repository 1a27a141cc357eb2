// The expander over blocks that exchange what they need through global memory: any device that runs them at the same time.
#include "expander_group.h"

EXPANDER_GROUP_FORWARD(expander_forward_group, ByMemory)
EXPANDER_GROUP_BACKWARD(expander_backward_group, ByMemory)
