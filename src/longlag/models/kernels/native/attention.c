/* Causal attention and its gradients, one head after another:

     o_t = sum_{s <= t} p_ts v_s,   p_ts = exp(l_ts - m_t) / n_t,   l_ts = scale q_t . k_s,

   with m_t the largest of the l_ts and n_t the sum that makes the p_ts add up to 1. Only m_t and 1 / n_t are stored: the
   backward pass computes p again. A tile is QUERIES rows of q by KEYS vectors of keys.

   q, k, v and d_out have D features side by side and any strides over batch, head and time; out is (B, T, N, D), dq, dk
   and dv are (B, N, T, D), stats is (B, N, T, 2). Heads are numbered b N + n; a call computes those from `first` to
   before `last`, in a space of its own of attention_space(T, D) numbers. */
#include "product.h"

#define QUERIES (2 * ROWS)
#define KEYS 2
#define STEP (KEYS * LANES)
#define WHOLE 32 /* T is rounded up to a multiple of this, and so of QUERIES and of STEP */
#define LEAST ((real)-__builtin_inf()) /* of a key that is later than the query: its p is 0 */

typedef struct {
    const real *from;
    int64_t batch, head, time;
} heads;

INLINE int64_t whole_time(int64_t T) { return (T + WHOLE - 1) / WHOLE * WHOLE; }
/* The length of a row of p: not a power of two, for which the rows would share the same few lines of the cache. */
INLINE int64_t whole_row(int64_t T) { return whole_time(T) + LANES; }

int64_t attention_space(int64_t T, int64_t D) { return 8 * whole_time(T) * padded(D) + 2 * QUERIES * whole_row(T); }

/* exp(x) for x <= 0 */
INLINE vec exp_of(vec x) {
    vec power, rest = exp_minus_1(at_least(x, -EXP_LIMIT), &power);
    return choose((bits)(x < all(-EXP_LIMIT)), all(0), rest * power + power);
}

INLINE real sum_of(vec x) {
    real sum = 0;
    for (int u = 0; u < LANES; u++) sum += x[u];
    return sum;
}

/* (T, D) times a number, into rows of padded(D), with zeros behind and below. */
static real *take_rows(int64_t T, int64_t D, const real *from, int64_t time, real times, real *to) {
    int64_t P = padded(D), whole = whole_time(T);
    for (int64_t t = 0; t < whole; t++)
        for (int64_t u = 0; u < P; u++) to[t * P + u] = t < T && u < D ? times * from[t * time + u] : 0;
    return to + whole * P;
}

/* Rows of padded(D) into panels (D, STEP) of keys. */
static real *take_panels(int64_t T, int64_t D, const real *rows, real *to) {
    int64_t P = padded(D), whole = whole_time(T);
    for (int64_t s = 0; s < whole; s += STEP)
        for (int64_t d = 0; d < D; d++)
            for (int64_t u = 0; u < STEP; u++) to[s * D + d * STEP + u] = rows[(s + u) * P + d];
    return to + whole * P;
}

/* sums[j][c] = the products of row j with the keys of vector c. */
INLINE void dots(int64_t D, const real *rows, const real *panel, vec sums[QUERIES][KEYS]) {
    int64_t P = padded(D);
#pragma GCC unroll 8
    for (int j = 0; j < QUERIES; j++)
#pragma GCC unroll 2
        for (int c = 0; c < KEYS; c++) sums[j][c] = all(0);
    for (int64_t d = 0; d < D; d++, panel += STEP) {
        vec w[KEYS];
#pragma GCC unroll 2
        for (int c = 0; c < KEYS; c++) w[c] = load(panel + c * LANES);
        __asm__ volatile("" ::: "memory"); /* else GCC loads each key again for each row */
#pragma GCC unroll 8
        for (int j = 0; j < QUERIES; j++) {
            vec a = all(rows[j * P + d]);
#pragma GCC unroll 2
            for (int c = 0; c < KEYS; c++) sums[j][c] += a * w[c];
        }
    }
}

/* l where the key is not later than the query, otherwise LEAST. */
INLINE vec causal(vec l, int64_t query, int64_t key) {
    bits at;
    for (int u = 0; u < LANES; u++) at[u] = (whole)u;
    return choose(at > (whole)(query - key) - (bits){0}, all(LEAST), l);
}

/* sums[j] = sum_k weights[j][k] W[k] for one vector of columns of W. */
INLINE void mix(int64_t K, const real *weights, int64_t row, const real *W, int64_t P, vec sums[QUERIES]) {
#pragma GCC unroll 8
    for (int j = 0; j < QUERIES; j++) sums[j] = all(0);
    for (int64_t k = 0; k < K; k++, W += P) {
        vec w = load(W);
#pragma GCC unroll 8
        for (int j = 0; j < QUERIES; j++) sums[j] += all(weights[j * row + k]) * w;
    }
}

/* to[k] += sum_j weights[j][k] rows[j] for one vector of columns. */
INLINE void spread(int64_t K, const real *weights, int64_t row, const real *rows, int64_t P, real *to) {
    vec r[QUERIES];
#pragma GCC unroll 8
    for (int j = 0; j < QUERIES; j++) r[j] = load(rows + j * P);
    for (int64_t k = 0; k < K; k++, to += P) {
        vec sum = load(to);
#pragma GCC unroll 8
        for (int j = 0; j < QUERIES; j++) sum += all(weights[j * row + k]) * r[j];
        store(to, sum);
    }
}

/* The first of a vector's numbers, up to the width that is left. */
INLINE void put(real *to, vec x, int64_t left) {
    if (left >= LANES) store(to, x);
    else
        for (int64_t u = 0; u < left; u++) to[u] = x[u];
}

static void forward(int64_t T, int64_t D, const real *q, const real *panels, const real *v, real *p, real *out,
                    int64_t out_time, real *stats) {
    int64_t P = padded(D), row = whole_row(T);
    for (int64_t t = 0; t < T; t += QUERIES) {
        int64_t keys = t + QUERIES;
        vec sums[QUERIES][KEYS], most[QUERIES];
        for (int j = 0; j < QUERIES; j++) most[j] = all(LEAST);
        for (int64_t s = 0; s < keys; s += STEP) {
            dots(D, q + t * P, panels + s * D, sums);
#pragma GCC unroll 8
            for (int j = 0; j < QUERIES; j++)
#pragma GCC unroll 2
                for (int c = 0; c < KEYS; c++) {
                    vec l = sums[j][c];
                    if (s + STEP > t) l = causal(l, t + j, s + c * LANES);
                    most[j] = choose((bits)(l > most[j]), l, most[j]);
                    store(p + j * row + s + c * LANES, l);
                }
        }
        real share[QUERIES];
        for (int j = 0; j < QUERIES; j++) {
            real m = most[j][0];
            for (int u = 1; u < LANES; u++) m = most[j][u] > m ? most[j][u] : m;
            vec total = all(0);
            for (real *at = p + j * row; at < p + j * row + keys; at += LANES) {
                vec e = exp_of(load(at) - all(m));
                total += e;
                store(at, e);
            }
            share[j] = 1 / sum_of(total);
            if (t + j < T) {
                stats[2 * (t + j)] = m;
                stats[2 * (t + j) + 1] = share[j];
            }
        }
        for (int64_t u = 0; u < P; u += LANES) {
            vec o[QUERIES];
            mix(keys, p, row, v + u, P, o);
            for (int j = 0; j < QUERIES && t + j < T; j++) put(out + (t + j) * out_time + u, o[j] * all(share[j]), D - u);
        }
    }
}

void attention_forward(int64_t first, int64_t last, int64_t N, int64_t T, int64_t D, real scale, const heads *given,
                       real *out, real *stats, real *space) {
    for (int64_t head = first; head < last; head++) {
        int64_t b = head / N, n = head % N;
        const real *from[3];
        for (int i = 0; i < 3; i++) from[i] = given[i].from + b * given[i].batch + n * given[i].head;
        real *q = space, *k = take_rows(T, D, from[0], given[0].time, scale, q);
        real *v = take_rows(T, D, from[1], given[1].time, 1, k), *panels = take_rows(T, D, from[2], given[2].time, 1, v);
        real *p = take_panels(T, D, k, panels);
        forward(T, D, q, panels, v, p, out + (b * T * N + n) * D, N * D, stats + 2 * head * T);
    }
}

/* The arrays of one head: rows, and the panels of k and v. */
typedef struct {
    const real *q, *k, *d_out, *of_k, *of_v;
    real *dk, *dv, *p, *dl;
} arrays;

static void backward(int64_t T, int64_t D, real scale, arrays a, const real *out, int64_t out_time, const real *stats,
                     real *dq) {
    int64_t P = padded(D), row = whole_row(T);
    for (int64_t t = 0; t < T; t += QUERIES) {
        int64_t keys = t + QUERIES;
        real m[QUERIES], share[QUERIES], mean[QUERIES]; /* mean of dp under p: d_out . out */
        for (int j = 0; j < QUERIES; j++) {
            int there = t + j < T;
            m[j] = there ? stats[2 * (t + j)] : 0;
            share[j] = there ? stats[2 * (t + j) + 1] : 0;
            mean[j] = 0;
            for (int64_t u = 0; there && u < D; u++) mean[j] += a.d_out[(t + j) * P + u] * out[(t + j) * out_time + u];
        }
        for (int64_t s = 0; s < keys; s += STEP) {
            vec l[QUERIES][KEYS], dp[QUERIES][KEYS];
            dots(D, a.q + t * P, a.of_k + s * D, l);
#pragma GCC unroll 8
            for (int j = 0; j < QUERIES; j++)
#pragma GCC unroll 2
                for (int c = 0; c < KEYS; c++) {
                    if (s + STEP > t) l[j][c] = causal(l[j][c], t + j, s + c * LANES);
                    store(a.p + j * row + s + c * LANES, exp_of(l[j][c] - all(m[j])) * all(share[j]));
                }
            dots(D, a.d_out + t * P, a.of_v + s * D, dp); /* dL/dp_ts = d_out_t . v_s */
#pragma GCC unroll 8
            for (int j = 0; j < QUERIES; j++)
#pragma GCC unroll 2
                for (int c = 0; c < KEYS; c++) {
                    int64_t at = j * row + s + c * LANES;
                    store(a.dl + at, load(a.p + at) * (dp[j][c] - all(mean[j]))); /* dL/dl_ts = p_ts (dp_ts - mean) */
                }
        }
        for (int64_t u = 0; u < P; u += LANES) {
            vec d[QUERIES];
            mix(keys, a.dl, row, a.k + u, P, d); /* dq_t = scale sum_s dl_ts k_s */
            for (int j = 0; j < QUERIES && t + j < T; j++) put(dq + (t + j) * D + u, d[j] * all(scale), D - u);
            spread(keys, a.dl, row, a.q + t * P + u, P, a.dk + u);    /* dk_s = scale sum_t dl_ts q_t */
            spread(keys, a.p, row, a.d_out + t * P + u, P, a.dv + u); /* dv_s = sum_t p_ts d_out_t */
        }
    }
}

/* given: q, k, v, d_out */
void attention_backward(int64_t first, int64_t last, int64_t N, int64_t T, int64_t D, real scale, const heads *given,
                        const real *out, const real *stats, real *dq, real *dk, real *dv, real *space) {
    int64_t P = padded(D), size = whole_time(T) * P;
    for (int64_t head = first; head < last; head++) {
        int64_t b = head / N, n = head % N;
        const real *from[4];
        for (int i = 0; i < 4; i++) from[i] = given[i].from + b * given[i].batch + n * given[i].head;
        real *q = space, *k = take_rows(T, D, from[0], given[0].time, scale, q);
        real *d_out = take_rows(T, D, from[1], given[1].time, 1, k);
        real *of_k = take_rows(T, D, from[3], given[3].time, 1, d_out), *of_v = take_panels(T, D, k, of_k);
        real *sum_k = of_v + size, *sum_v = sum_k + size, *p = sum_v + size;
        take_rows(T, D, from[2], given[2].time, 1, sum_k);
        take_panels(T, D, sum_k, of_v);
        for (int64_t u = 0; u < 2 * size; u++) sum_k[u] = 0;
        arrays a = {q, k, d_out, of_k, of_v, sum_k, sum_v, p, p + QUERIES * whole_row(T)};
        backward(T, D, scale, a, out + (b * T * N + n) * D, N * D, stats + 2 * head * T, dq + head * T * D);
        for (int64_t t = 0; t < T; t++)
            for (int64_t u = 0; u < D; u++) {
                dk[(head * T + t) * D + u] = sum_k[t * P + u];
                dv[(head * T + t) * D + u] = sum_v[t * P + u];
            }
    }
}
