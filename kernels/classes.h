// Rows of classes (N,TG_CLASSES) as src/backend/cuda/batch.rs makes them: x, y, ticks, the anchors of x, those of y. An anchor
// that says nothing is -1.
#pragma once

#define TG_X_ANCHORS 2
#define TG_Y_ANCHORS 4
#define TG_CLASSES (3 + TG_X_ANCHORS + TG_Y_ANCHORS)
