/* The LSTM of lstm_scratch.py. Blocks in the order o, i, f, g. */
#include "cell.h"

PACK(lstm_pack) {
    if (weights) pack_gates(4, 0, I, H, packed, weights);
    if (U) pack_back(4, H, packed + I + 1, I + 1 + H, U);
}

INLINE void tile(int rows, int64_t I, int64_t H, const real *x, int64_t x_batch, int64_t x_unit, const real *h,
                 const real *C, const real *W, real *h_t, real *C_t, real *g) {
    int64_t P = padded(H);
    vec sums[ROWS][COLUMNS], z[ROWS][COLUMNS];
    sum_gates(rows, 4, 0, I, H, x, x_batch, x_unit, h, P, W, sums);
    spill(rows, 4, sums, z);
    for (int j = 0; j < rows; j++, C += P, h_t += P, C_t += P, g += 4 * P) {
        vec o = sigmoid(z[j][0]); /*      o_t = σ(W_o x_t + U_o h_{t-1} + b_o) */
        vec i = sigmoid(z[j][1]); /*      i_t = σ(W_i x_t + U_i h_{t-1} + b_i) */
        vec f = sigmoid(z[j][2]); /*      f_t = σ(W_f x_t + U_f h_{t-1} + b_f) */
        vec c = tanh_of(z[j][3]); /*      g_t = tanh(W_g x_t + U_g h_{t-1} + b_g) */
        vec cell = f * load(C) + i * c; /* C_t = f_t C_{t-1} + i_t g_t */
        store(h_t, o * tanh_of(cell)); /*  h_t = o_t tanh(C_t) */
        store(C_t, cell);
        store(g, o);
        store(g + P, i);
        store(g + 2 * P, f);
        store(g + 3 * P, c);
    }
}

FORWARD(lstm_forward) {
    int64_t P = padded(H);
    for (int64_t t = 0; t < T; t++, x += x_time, h += B * P, C += C_time, gates += g_time)
        for (int64_t n = 0; n < P; n += LANES) {
            const real *W = weights + 4 * n * (1 + I + H);
#define TILE(rows, columns)                                                                                        \
    tile(rows, I, H, x + r * x_batch, x_batch, x_unit, h + r * P, C + r * P + n, W, h + (B + r) * P + n,           \
         C + C_time + r * P + n, gates + 4 * r * P + n)
            OVER_ROWS(TILE, 4, B);
#undef TILE
        }
}

BACKWARD(lstm_backward) {
    int64_t P = padded(H);
    for (int64_t t = T - 1; t >= 0; t--) {
        real *z_t = dz + t * B * 4 * P;
        for (int64_t r = 0; r < B; r++)
            for (int64_t n = 0; n < P; n += LANES) {
                int64_t at = r * P + n, here = 4 * r * P + n;
                const real *g = gates + t * B * 4 * P + here;
                real *z = z_t + here;
                vec o = load(g), i = load(g + P), f = load(g + 2 * P), c = load(g + 3 * P);
                vec T_t = tanh_of(load(C + (t + 1) * B * P + at)), before = load(C + t * B * P + at);
                vec d = load(dh + at) + load(d_out + t * d_time + r * d_batch + n); /* dL/dh_t */
                vec dcell = load(dC + at) + d * (o * slope_of_tanh(T_t)); /* dL/dC_t += dh o tanh'(C_t) */
                store(z, d * (T_t * slope_of_sigmoid(o))); /*               dz_o = dh tanh(C_t) σ'(z_o) */
                store(z + P, dcell * (c * slope_of_sigmoid(i))); /*         dz_i = dC g σ'(z_i) */
                store(z + 2 * P, dcell * (before * slope_of_sigmoid(f))); /* dz_f = dC C_{t-1} σ'(z_f) */
                store(z + 3 * P, dcell * (i * slope_of_tanh(c))); /*        dz_g = dC i tanh'(z_g) */
                store(dC + at, dcell * f); /*                               dL/dC_{t-1} = dC f */
                store(dh + at, all(0)); /*                                  dL/dh_{t-1} = U^T dz */
            }
        product_back(4, B, H, z_t, 4 * P, U, dh);
    }
}
