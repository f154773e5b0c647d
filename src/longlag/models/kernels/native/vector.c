/* What Python must know of the vectors, and their functions for arrays, which the checks call. */
#include "vector.h"

int64_t lanes(void) { return LANES; }
int64_t size_of_real(void) { return SIZE; }

#define OVER_ARRAY(name, function)                                                    \
    void name(int64_t vectors, const real *x, real *y) {                              \
        for (int64_t n = 0; n < vectors * LANES; n += LANES) store(y + n, function(load(x + n))); \
    }
OVER_ARRAY(sigmoid_array, sigmoid)
OVER_ARRAY(tanh_array, tanh_of)
