/* The LSTM of 1997, lstm_1997.py. Blocks in the order o, i, s, with s = tanh(z_g / 2); C is held as D = C / 2. */
#include "cell.h"

PACK(lstm_1997_pack) {
    if (weights) pack_gates(3, 0, I, H, packed, weights);
    if (U) pack_back(3, H, packed + I + 1, I + 1 + H, U);
}

INLINE void tile(int rows, int64_t I, int64_t H, const real *x, int64_t x_batch, int64_t x_unit, const real *h,
                 const real *D, const real *W, real *h_t, real *D_t, real *g) {
    int64_t P = padded(H);
    vec sums[ROWS][COLUMNS], z[ROWS][COLUMNS];
    sum_gates(rows, 3, 0, I, H, x, x_batch, x_unit, h, P, W, sums);
    spill(rows, 3, sums, z);
    for (int j = 0; j < rows; j++, D += P, h_t += P, D_t += P, g += 3 * P) {
        vec o = sigmoid(z[j][0]); /*      o_t = σ(W_o x_t + U_o h_{t-1} + b_o) */
        vec i = sigmoid(z[j][1]); /*      i_t = σ(W_i x_t + U_i h_{t-1} + b_i) */
        vec s = tanh_of(z[j][2]); /*      s_t = tanh((W_g x_t + U_g h_{t-1} + b_g) / 2) = g_t / 2 */
        vec cell = load(D) + i * s; /*    D_t = D_{t-1} + i_t s_t */
        store(h_t, o * tanh_of(cell)); /* h_t = o_t tanh(D_t) */
        store(D_t, cell);
        store(g, o);
        store(g + P, i);
        store(g + 2 * P, s);
    }
}

FORWARD(lstm_1997_forward) {
    int64_t P = padded(H);
    for (int64_t t = 0; t < T; t++, x += x_time, h += B * P, C += C_time, gates += g_time)
        for (int64_t n = 0; n < P; n += LANES) {
            const real *W = weights + 3 * n * (1 + I + H);
#define TILE(rows, columns)                                                                                        \
    tile(rows, I, H, x + r * x_batch, x_batch, x_unit, h + r * P, C + r * P + n, W, h + (B + r) * P + n,           \
         C + C_time + r * P + n, gates + 3 * r * P + n)
            OVER_ROWS(TILE, 3, B);
#undef TILE
        }
}

BACKWARD(lstm_1997_backward) {
    int64_t P = padded(H);
    for (int64_t t = T - 1; t >= 0; t--) {
        real *z_t = dz + t * B * 3 * P;
        for (int64_t r = 0; r < B; r++)
            for (int64_t n = 0; n < P; n += LANES) {
                int64_t at = r * P + n, here = 3 * r * P + n;
                const real *g = gates + t * B * 3 * P + here;
                real *z = z_t + here;
                vec o = load(g), i = load(g + P), s = load(g + 2 * P), T_t = tanh_of(load(C + (t + 1) * B * P + at));
                vec d = load(dh + at) + load(d_out + t * d_time + r * d_batch + n); /* dL/dh_t */
                vec dcell = load(dC + at) + d * (o * slope_of_tanh(T_t)); /* dL/dD_t += dh o tanh'(D_t) */
                store(z, d * (T_t * slope_of_sigmoid(o))); /*       dz_o = dh tanh(D_t) σ'(z_o) */
                store(z + P, dcell * (s * slope_of_sigmoid(i))); /* dz_i = dD s σ'(z_i) */
                store(z + 2 * P, dcell * (i * slope_of_tanh(s))); /* dz_s = dD i tanh'(z_g / 2) */
                store(dC + at, dcell); /*                           dL/dD_{t-1} = dD */
                store(dh + at, all(0)); /*                          dL/dh_{t-1} = U^T dz */
            }
        product_back(3, B, H, z_t, 3 * P, U, dh);
    }
}
