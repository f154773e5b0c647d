/* The loops of the RNNs of rnn_scratch.py. There are no gates: h_t = f(W x_t + U h_{t-1} + b) and the slope is a
   function of h_t, so that the backward pass needs h alone. The file that includes this one defines
     NAME(part)  its function names,   OF_SUM(z)  f,   SLOPE(h, d)  d f'(z), given h = f(z). */
#include "cell.h"

PACK(NAME(pack)) {
    int64_t row = I + 1 + H, P = padded(H);
    if (weights) { /* b, then W and U in panels */
        for (int64_t u = 0; u < P; u++) *weights++ = u < H ? packed[u * row + I] : 0;
        weights = pack_panels(I, H, packed, 1, row, weights);
        pack_panels(H, H, packed + I + 1, 1, row, weights);
    }
    if (U) pack_back(1, H, packed + I + 1, row, U);
}

INLINE void tile(int rows, int columns, int64_t I, int64_t H, const real *x, int64_t x_batch, int64_t x_unit,
                 const real *h, const real *b, const real *W, const real *U, real *h_t) {
    int64_t P = padded(H);
    vec sums[ROWS][COLUMNS];
#pragma GCC unroll 4
    for (int j = 0; j < rows; j++)
#pragma GCC unroll 4
        for (int q = 0; q < columns; q++) sums[j][q] = load(b + q * LANES);
    accumulate(rows, 0, columns, I, x, x_batch, x_unit, W, sums);
    accumulate(rows, 0, columns, H, h, P, 1, U, sums);
#pragma GCC unroll 4
    for (int j = 0; j < rows; j++)
#pragma GCC unroll 4
        for (int q = 0; q < columns; q++) store(h_t + j * P + q * LANES, OF_SUM(sums[j][q]));
}

FORWARD(NAME(forward)) {
    int64_t P = padded(H);
    const real *W = weights + P, *U = weights + P * (1 + I);
    for (int64_t t = 0; t < T; t++, x += x_time, h += B * P)
        for (int64_t n = 0; n < P / LANES; n += COLUMNS) {
            int64_t u = n * LANES;
#define TILE(rows, columns)                                                                                        \
    tile(rows, columns, I, H, x + r * x_batch, x_batch, x_unit, h + r * P, weights + u, W + u * I, U + u * H,      \
         h + (B + r) * P + u)
#define BODY(columns) OVER_ROWS(TILE, columns, B)
            BY_COLUMNS(BODY, panel_columns(H, n));
#undef BODY
#undef TILE
        }
}

BACKWARD(NAME(backward)) {
    int64_t P = padded(H);
    for (int64_t t = T - 1; t >= 0; t--) {
        real *z_t = dz + t * B * P;
        for (int64_t r = 0; r < B; r++)
            for (int64_t u = 0; u < P; u += LANES) {
                int64_t at = r * P + u;
                vec d = load(dh + at) + load(d_out + t * d_time + r * d_batch + u); /* dL/dh_t */
                store(z_t + at, SLOPE(load(h + (t + 1) * B * P + at), d)); /*         dz = dh f'(z) */
                store(dh + at, all(0)); /*                                            dL/dh_{t-1} = U^T dz */
            }
        product_back(1, B, H, z_t, P, U, dh);
    }
}
