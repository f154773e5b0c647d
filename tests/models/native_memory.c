/* Runs all kernels over many shapes in arrays of exactly the size they need, for the sanitizers of test_native_build. */
#include <stdlib.h>
#include "cell.h"

#define EVERY_CELL(DO) DO(lstm, 4, 0) DO(lstm_1997, 3, 0) DO(lstm_peephole, 4, 0) DO(gru, 4, 1) DO(rnn, 1, 0) DO(rnn_relu, 1, 0)
#define DECLARE(name, blocks, from_h) PACK(name##_pack); FORWARD(name##_forward); BACKWARD(name##_backward);
EVERY_CELL(DECLARE)
void add_products(int64_t, int64_t, int64_t, const real *, int64_t, const real *, int64_t, real *, int64_t);
#define DECLARE_SCAN(name)                                                                                            \
    void name##_forward(int64_t, int64_t, int64_t, const real *, int64_t, int64_t, const real *, int64_t, int64_t,    \
                        const real *, real *);                                                                        \
    void name##_backward(int64_t, int64_t, int64_t, int64_t, const real *, int64_t, int64_t, const real *,            \
                         const real *, const real *, int64_t, int64_t, real *, real *, real *);
DECLARE_SCAN(scan)
DECLARE_SCAN(scan_complex)
typedef struct {
    const real *from;
    int64_t batch, head, time;
} heads;
int64_t attention_space(int64_t, int64_t);
void attention_forward(int64_t, int64_t, int64_t, int64_t, int64_t, real, const heads *, real *, real *, real *);
void attention_backward(int64_t, int64_t, int64_t, int64_t, int64_t, real, const heads *, const real *, const real *,
                        real *, real *, real *, real *);

static real *numbers(int64_t count) {
    real *made = malloc((size_t)count * sizeof(real));
    for (int64_t k = 0; k < count; k++) made[k] = (real)rand() / (real)RAND_MAX - (real)0.5;
    return made;
}

typedef void pack_function(int64_t, int64_t, const real *, real *, real *);
typedef FORWARD(forward_function);
typedef BACKWARD(backward_function);

static void run_cell(pack_function pack, forward_function forward, backward_function backward, int64_t blocks,
                     int64_t from_h, int64_t T, int64_t B, int64_t I, int64_t H) {
    int64_t P = padded(H), takers = blocks - from_h, row = I + 1 + H;
    real *packed = numbers(blocks * H * row), *weights = numbers((blocks + takers * (I + H)) * P);
    real *U = numbers(takers * H * P), *x = numbers(T * B * I), *p = numbers(3 * P), *h = numbers((T + 1) * B * P);
    real *C = numbers((T + 1) * B * P), *gates = numbers(T * B * blocks * P), *dz = numbers(T * B * blocks * P);
    real *d_out = numbers(T * B * P), *dh = numbers(B * P), *dC = numbers(B * P), *total = numbers(row * blocks * P);
    pack(I, H, packed, weights, NULL);
    pack(I, H, packed, NULL, U);
    forward(T, B, I, H, x, B * I, I, 1, weights, p, h, C, B * P, gates, B * blocks * P);
    backward(T, B, H, d_out, B * P, P, h, C, gates, p, U, dz, dh, dC);
    add_products(T * B, H, blocks * P, h, P, dz, blocks * P, total + (I + 1) * blocks * P, blocks * P);
    add_products(T * B, I, blocks * P, x, I, dz, blocks * P, total, blocks * P);
    real *one_C = numbers(B * P), *one_gates = numbers(B * blocks * P); /* nothing is kept */
    forward(T, B, I, H, x, B * I, I, 1, weights, p, h, one_C, 0, one_gates, 0);
    real *all_arrays[] = {packed, weights, U, x, p, h, C, gates, dz, d_out, dh, dC, total, one_C, one_gates};
    for (size_t k = 0; k < sizeof all_arrays / sizeof *all_arrays; k++) free(all_arrays[k]);
}

static void run_scans(int64_t B, int64_t T, int64_t H, int64_t constant) {
    int64_t times = constant ? 1 : T, a_time = constant ? 0 : H, n = 2 * B * H;
    real *a = numbers(n * times), *b = numbers(n * T), *h_0 = numbers(n), *h = numbers(n * T), *d_out = numbers(n * T);
    real *da = numbers(n * times), *db = numbers(n * T), *dh_0 = numbers(n);
    scan_complex_forward(B, T, H, a, times * H, a_time, b, T * H, H, h_0, h);
    scan_complex_backward(B, T, H, constant, a, times * H, a_time, h_0, h, d_out, T * H, H, da, db, dh_0);
    scan_forward(B, T, 2 * H, a, 2 * times * H, 2 * a_time, b, 2 * T * H, 2 * H, h_0, h);
    scan_backward(B, T, 2 * H, constant, a, 2 * times * H, 2 * a_time, h_0, h, d_out, 2 * T * H, 2 * H, da, db, dh_0);
    real *all_arrays[] = {a, b, h_0, h, d_out, da, db, dh_0};
    for (size_t k = 0; k < sizeof all_arrays / sizeof *all_arrays; k++) free(all_arrays[k]);
}

static void run_attention(int64_t B, int64_t T, int64_t D) {
    int64_t N = 2, n = B * N * T * D;
    real *q = numbers(n), *k = numbers(n), *v = numbers(n), *d_out = numbers(n), *out = numbers(n);
    real *dq = numbers(n), *dk = numbers(n), *dv = numbers(n), *stats = numbers(2 * B * N * T);
    real *space = numbers(attention_space(T, D));
    heads given[] = {{q, N * T * D, T * D, D}, {k, N * T * D, T * D, D}, {v, N * T * D, D, N * D}, {d_out, N * T * D, D, N * D}};
    attention_forward(0, B * N, N, T, D, (real)0.5, given, out, stats, space);
    attention_backward(0, B * N, N, T, D, (real)0.5, given, out, stats, dq, dk, dv, space);
    real *all_arrays[] = {q, k, v, d_out, out, dq, dk, dv, stats, space};
    for (size_t i = 0; i < sizeof all_arrays / sizeof *all_arrays; i++) free(all_arrays[i]);
}

int main(void) {
    const int64_t hiddens[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 64, 65, 130};
    for (size_t k = 0; k < sizeof hiddens / sizeof *hiddens; k++)
        for (int64_t B = 1; B <= 9; B += B < 5 ? 1 : 4)
            for (int64_t T = 1; T <= 9; T += 4) {
                int64_t H = hiddens[k], I = (H + B) % 4 + 1;
#define RUN(name, blocks, from_h) run_cell(name##_pack, name##_forward, name##_backward, blocks, from_h, T, B, I, H);
                EVERY_CELL(RUN)
                run_scans(B, T, H, 0);
                run_scans(B, T, H, 1);
                run_attention(B, 4 * T + B, H);
            }
    return 0;
}
