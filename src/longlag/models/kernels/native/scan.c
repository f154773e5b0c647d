/* The linear scan h_t = a_t h_{t-1} + b_t, real and complex, with its gradients. Complex numbers are pairs (real part, imaginary part).

   Arrays: b, h, d_out, da and db are (batch B, time T, H); a has any strides over batch and time, 0 included, with the
   units adjacent. h_0 and dh_0 are (B, H). If `constant`, a is the same at all times, and da is (B, H), the sum. */
#include "vector.h"

#define SCAN_FORWARD(name)                                                                                       \
    void name(int64_t B, int64_t T, int64_t H, const real *a, int64_t a_batch, int64_t a_time, const real *b,    \
              int64_t b_batch, int64_t b_time, const real *h_0, real *h)
#define SCAN_BACKWARD(name)                                                                                      \
    void name(int64_t B, int64_t T, int64_t H, int64_t constant, const real *a, int64_t a_batch, int64_t a_time, \
              const real *h_0, const real *h, const real *d_out, int64_t d_batch, int64_t d_time, real *da,      \
              real *db, real *dh_0)

/* One step each; the compiler vectorises their loops. */
INLINE void step(int64_t H, const real *restrict a, const real *restrict before, const real *restrict b,
                 real *restrict h) {
    for (int64_t u = 0; u < H; u++) h[u] = a[u] * before[u] + b[u];
}

INLINE void step_complex(int64_t H, const real *restrict a, const real *restrict before, const real *restrict b,
                         real *restrict h) {
    for (int64_t u = 0; u < 2 * H; u += 2) { /* (a + ia') (h + ih') = (ah - a'h') + i(ah' + a'h) */
        h[u] = a[u] * before[u] - a[u + 1] * before[u + 1] + b[u];
        h[u + 1] = a[u] * before[u + 1] + a[u + 1] * before[u] + b[u + 1];
    }
}

/* carry is a_{t+1} d_{t+1} before, and a_t d_t after. */
INLINE void step_back(int64_t H, int adds, const real *restrict a, const real *restrict before,
                      const real *restrict d_out, real *restrict da, real *restrict db, real *restrict carry) {
    for (int64_t u = 0; u < H; u++) {
        real d = d_out[u] + carry[u];
        db[u] = d;
        da[u] = d * before[u] + (adds ? da[u] : 0);
        carry[u] = a[u] * d;
    }
}

/* As torch defines the gradient of a complex number, a and h are conjugated. */
INLINE void step_back_complex(int64_t H, int adds, const real *restrict a, const real *restrict before,
                              const real *restrict d_out, real *restrict da, real *restrict db,
                              real *restrict carry) {
    for (int64_t u = 0; u < 2 * H; u += 2) {
        real re = d_out[u] + carry[u], im = d_out[u + 1] + carry[u + 1];
        db[u] = re;
        db[u + 1] = im;
        da[u] = re * before[u] + im * before[u + 1] + (adds ? da[u] : 0);
        da[u + 1] = im * before[u] - re * before[u + 1] + (adds ? da[u + 1] : 0);
        carry[u] = a[u] * re + a[u + 1] * im;
        carry[u + 1] = a[u] * im - a[u + 1] * re;
    }
}

/* n: how many reals a number is. The strides count numbers. */
#define FORWARD_LOOP(n, STEP)                                                                                 \
    for (int64_t r = 0; r < B; r++) {                                                                         \
        const real *before = h_0 + n * r * H;                                                                 \
        for (int64_t t = 0; t < T; t++) {                                                                     \
            real *h_t = h + n * (r * T + t) * H;                                                              \
            STEP(H, a + n * (r * a_batch + t * a_time), before, b + n * (r * b_batch + t * b_time), h_t);     \
            before = h_t;                                                                                     \
        }                                                                                                     \
    }

SCAN_FORWARD(scan_forward) { FORWARD_LOOP(1, step) }
SCAN_FORWARD(scan_complex_forward) { FORWARD_LOOP(2, step_complex) }

/* d_t = dL/dh_t, through the outputs and later steps: d_t = d_out_t + a_{t+1} d_{t+1}; db_t = d_t; da_t = d_t h_{t-1}.
   dh_0 carries a_{t+1} d_{t+1} from step to step, and is a_1 d_1 in the end. */
#define BACKWARD_LOOP(n, STEP)                                                                                \
    for (int64_t r = 0; r < B; r++) {                                                                         \
        real *carry = dh_0 + n * r * H;                                                                       \
        for (int64_t u = 0; u < n * H; u++) carry[u] = 0;                                                     \
        for (int64_t t = T - 1; t >= 0; t--) {                                                                \
            const real *a_t = a + n * (r * a_batch + t * a_time), *d_t = d_out + n * (r * d_batch + t * d_time); \
            const real *before = t ? h + n * (r * T + t - 1) * H : h_0 + n * r * H;                           \
            real *db_t = db + n * (r * T + t) * H;                                                            \
            if (constant) STEP(H, 1, a_t, before, d_t, da + n * r * H, db_t, carry);                          \
            else STEP(H, 0, a_t, before, d_t, da + n * (r * T + t) * H, db_t, carry);                         \
        }                                                                                                     \
    }

SCAN_BACKWARD(scan_backward) { BACKWARD_LOOP(1, step_back) }
SCAN_BACKWARD(scan_complex_backward) { BACKWARD_LOOP(2, step_back_complex) }
