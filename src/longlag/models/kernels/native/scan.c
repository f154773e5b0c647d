/* The linear scan h_t = a_t h_{t-1} + b_t, real and complex, with its gradients. Numbers only: the compiler vectorises
   the loops over the units, whose elements are adjacent. Complex numbers are pairs (real part, imaginary part).

   Arrays: b, h, d_out, da and db are (batch B, time T, H); a has any strides over batch and time, 0 included, with the
   units adjacent. h_0 and dh_0 are (B, H). If `constant`, a is the same at all times, and da is (B, H), the sum. */
#include "vector.h"

#define SCAN_FORWARD(name)                                                                                       \
    void name(int64_t B, int64_t T, int64_t H, const real *a, int64_t a_batch, int64_t a_time, const real *b,    \
              int64_t b_batch, int64_t b_time, const real *h_0, real *restrict h)
#define SCAN_BACKWARD(name)                                                                                      \
    void name(int64_t B, int64_t T, int64_t H, int64_t constant, const real *a, int64_t a_batch, int64_t a_time, \
              const real *h_0, const real *h, const real *d_out, int64_t d_batch, int64_t d_time, real *da,      \
              real *db, real *dh_0)

SCAN_FORWARD(scan_forward) {
    for (int64_t r = 0; r < B; r++) {
        const real *before = h_0 + r * H;
        for (int64_t t = 0; t < T; t++) {
            const real *restrict a_t = a + r * a_batch + t * a_time, *restrict b_t = b + r * b_batch + t * b_time;
            real *restrict h_t = h + (r * T + t) * H;
            for (int64_t u = 0; u < H; u++) h_t[u] = a_t[u] * before[u] + b_t[u];
            before = h_t;
        }
    }
}

/* d_t = dL/dh_t, through the outputs and later steps: d_t = d_out_t + a_{t+1} d_{t+1}; db_t = d_t; da_t = d_t h_{t-1}.
   dh_0 carries a_{t+1} d_{t+1} from step to step, and is a_1 d_1 in the end. */
SCAN_BACKWARD(scan_backward) {
    for (int64_t r = 0; r < B; r++) {
        real *restrict carry = dh_0 + r * H;
        for (int64_t u = 0; u < H; u++) carry[u] = 0;
        for (int64_t t = T - 1; t >= 0; t--) {
            const real *restrict a_t = a + r * a_batch + t * a_time;
            const real *restrict d_t = d_out + r * d_batch + t * d_time;
            const real *restrict before = t ? h + (r * T + t - 1) * H : h_0 + r * H;
            real *restrict db_t = db + (r * T + t) * H, *restrict da_t = da + (constant ? r : r * T + t) * H;
            for (int64_t u = 0; u < H; u++) {
                real d = d_t[u] + carry[u];
                db_t[u] = d;
                da_t[u] = (constant ? da_t[u] : 0) + d * before[u];
                carry[u] = a_t[u] * d;
            }
        }
    }
}

/* The same for complex numbers; strides count pairs. (a + ib)(c + id) = (ac - bd) + i(ad + bc). */
SCAN_FORWARD(scan_complex_forward) {
    for (int64_t r = 0; r < B; r++) {
        const real *before = h_0 + 2 * r * H;
        for (int64_t t = 0; t < T; t++) {
            const real *restrict a_t = a + 2 * (r * a_batch + t * a_time);
            const real *restrict b_t = b + 2 * (r * b_batch + t * b_time);
            real *restrict h_t = h + 2 * (r * T + t) * H;
            for (int64_t u = 0; u < 2 * H; u += 2) {
                real re = a_t[u] * before[u] - a_t[u + 1] * before[u + 1] + b_t[u];
                real im = a_t[u] * before[u + 1] + a_t[u + 1] * before[u] + b_t[u + 1];
                h_t[u] = re;
                h_t[u + 1] = im;
            }
            before = h_t;
        }
    }
}

/* Torch's gradient of a complex number is the conjugate of the derivative: a and h are conjugated. */
SCAN_BACKWARD(scan_complex_backward) {
    for (int64_t r = 0; r < B; r++) {
        real *restrict carry = dh_0 + 2 * r * H;
        for (int64_t u = 0; u < 2 * H; u++) carry[u] = 0;
        for (int64_t t = T - 1; t >= 0; t--) {
            const real *restrict a_t = a + 2 * (r * a_batch + t * a_time);
            const real *restrict d_t = d_out + 2 * (r * d_batch + t * d_time);
            const real *restrict before = t ? h + 2 * (r * T + t - 1) * H : h_0 + 2 * r * H;
            real *restrict db_t = db + 2 * (r * T + t) * H, *restrict da_t = da + 2 * (constant ? r : r * T + t) * H;
            for (int64_t u = 0; u < 2 * H; u += 2) {
                real re = d_t[u] + carry[u], im = d_t[u + 1] + carry[u + 1];
                db_t[u] = re;
                db_t[u + 1] = im;
                da_t[u] = (constant ? da_t[u] : 0) + re * before[u] + im * before[u + 1];
                da_t[u + 1] = (constant ? da_t[u + 1] : 0) + im * before[u] - re * before[u + 1];
                carry[u] = a_t[u] * re + a_t[u + 1] * im;
                carry[u + 1] = a_t[u] * im - a_t[u + 1] * re;
            }
        }
    }
}
