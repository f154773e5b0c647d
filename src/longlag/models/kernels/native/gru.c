/* The GRU of gru_scratch.py. Blocks in the order n, r, z, q, with q = U_n h_{t-1} + c_n: n does not take h, and q
   takes nothing but h. */
#include "cell.h"

PACK(gru_pack) {
    if (weights) pack_gates(4, 1, I, H, packed, weights);
    if (U) pack_back(3, H, packed + H * (I + 1 + H) + I + 1, I + 1 + H, U); /* blocks r, z, q */
}

INLINE void tile(int rows, int64_t I, int64_t H, const real *x, int64_t x_batch, int64_t x_unit, const real *h,
                 const real *h_n, const real *W, real *h_t, real *g) {
    int64_t P = padded(H);
    vec sums[ROWS][COLUMNS], s[ROWS][COLUMNS];
    sum_gates(rows, 4, 1, I, H, x, x_batch, x_unit, h, P, W, sums);
    spill(rows, 4, sums, s);
    for (int j = 0; j < rows; j++, h_n += P, h_t += P, g += 4 * P) {
        vec q = s[j][3]; /*                   q_t = U_n h_{t-1} + c_n */
        vec r = sigmoid(s[j][1]); /*          r_t = σ(W_r x_t + b_r + U_r h_{t-1} + c_r) */
        vec z = sigmoid(s[j][2]); /*          z_t = σ(W_z x_t + b_z + U_z h_{t-1} + c_z) */
        vec n = tanh_of(s[j][0] + r * q); /*  n_t = tanh(W_n x_t + b_n + r_t q_t) */
        store(h_t, (all(1) - z) * n + z * load(h_n)); /* h_t = (1 - z_t) n_t + z_t h_{t-1} */
        store(g, n);
        store(g + P, r);
        store(g + 2 * P, z);
        store(g + 3 * P, q);
    }
}

FORWARD(gru_forward) {
    int64_t P = padded(H);
    for (int64_t t = 0; t < T; t++, x += x_time, h += B * P, gates += g_time)
        for (int64_t n = 0; n < P; n += LANES) {
            const real *W = weights + n * (4 + 3 * (I + H));
#define TILE(rows, columns)                                                                                        \
    tile(rows, I, H, x + r * x_batch, x_batch, x_unit, h + r * P, h + r * P + n, W, h + (B + r) * P + n,           \
         gates + 4 * r * P + n)
            OVER_ROWS(TILE, 4, B);
#undef TILE
        }
}

BACKWARD(gru_backward) {
    int64_t P = padded(H);
    for (int64_t t = T - 1; t >= 0; t--) {
        real *z_t = dz + t * B * 4 * P;
        for (int64_t row = 0; row < B; row++)
            for (int64_t u = 0; u < P; u += LANES) {
                int64_t at = row * P + u, here = 4 * row * P + u;
                const real *g = gates + t * B * 4 * P + here;
                real *s = z_t + here;
                vec n = load(g), r = load(g + P), z = load(g + 2 * P), q = load(g + 3 * P);
                vec before = load(h + t * B * P + at);
                vec d = load(dh + at) + load(d_out + t * d_time + row * d_batch + u); /* dL/dh_t */
                vec dz_n = d * ((all(1) - z) * slope_of_tanh(n)); /*        dz_n = dh (1 - z) tanh'(z_n) */
                store(s, dz_n);
                store(s + P, dz_n * (q * slope_of_sigmoid(r))); /*          dz_r = dz_n q σ'(z_r) */
                store(s + 2 * P, d * ((before - n) * slope_of_sigmoid(z))); /* dz_z = dh (h_{t-1} - n) σ'(z_z) */
                store(s + 3 * P, dz_n * r); /*                              dz_q = dz_n r */
                store(dh + at, d * z); /*                                   dL/dh_{t-1} = dh z + U^T dz */
            }
        product_back(3, B, H, z_t + P, 4 * P, U, dh);
    }
}
