/* Small matrix products, and the order in which they want their weights.

   A tile is up to ROWS sequences by up to COLUMNS vectors of units. Its sums stay in registers; each weight that is
   loaded serves all rows of the tile. */
#ifndef LONGLAG_PRODUCT_H
#define LONGLAG_PRODUCT_H

#include "vector.h"

#define COLUMNS 4
#if defined(__AVX512F__) || defined(__aarch64__) /* 32 registers: 16 sums, 4 weights, 1 input */
#define ROWS 4
#else /* 16 registers */
#define ROWS 2
#endif
#define BLOCK 64 /* weights of so many rows are used for all sequences in turn: with four vectors a row, 16 KiB */

/* sums[j][first + q] += sum_k A[j][k] W[k][q] for q < columns; W is (K, columns, LANES). All but K are constants. */
INLINE void accumulate(int rows, int first, int columns, int64_t K, const real *A, int64_t row, int64_t step,
                       const real *W, vec sums[ROWS][COLUMNS]) {
#pragma GCC unroll 2
    for (int64_t k = 0; k < K; k++, W += columns * LANES) {
        vec w[COLUMNS];
#pragma GCC unroll 4
        for (int q = 0; q < columns; q++) w[q] = load(W + q * LANES);
        __asm__ volatile("" ::: "memory"); /* else GCC loads each weight again for each row */
#pragma GCC unroll 4
        for (int j = 0; j < rows; j++) {
            vec a = all(A[j * row + k * step]);
#pragma GCC unroll 4
            for (int q = 0; q < columns; q++) sums[j][first + q] += a * w[q];
        }
    }
}

/* rows by columns of out (row stride `to`) += A W. */
INLINE void add_tile(int rows, int columns, int64_t K, const real *A, int64_t row, const real *W, real *out,
                     int64_t to) {
    vec sums[ROWS][COLUMNS];
#pragma GCC unroll 4
    for (int j = 0; j < rows; j++)
#pragma GCC unroll 4
        for (int q = 0; q < columns; q++) sums[j][q] = load(out + j * to + q * LANES);
    accumulate(rows, 0, columns, K, A, row, 1, W, sums);
#pragma GCC unroll 4
    for (int j = 0; j < rows; j++)
#pragma GCC unroll 4
        for (int q = 0; q < columns; q++) store(out + j * to + q * LANES, sums[j][q]);
}

/* Call TILE(rows, columns) with constants, for sequences r, r + ROWS, ... of B. The last tile may have fewer rows. */
#if ROWS == 4
#define LAST_ROWS(TILE, columns, left)              \
    do {                                            \
        if ((left) == 3) TILE(3, columns);          \
        else if ((left) == 2) TILE(2, columns);     \
        else if ((left) == 1) TILE(1, columns);     \
    } while (0)
#else
#define LAST_ROWS(TILE, columns, left)              \
    do {                                            \
        if ((left) == 1) TILE(1, columns);          \
    } while (0)
#endif
#define OVER_ROWS(TILE, columns, B)                                    \
    do {                                                               \
        int64_t r = 0;                                                 \
        for (; r + ROWS <= (B); r += ROWS) TILE(ROWS, columns);        \
        LAST_ROWS(TILE, columns, (B) - r);                             \
    } while (0)

/* Call BODY(columns) with a constant number of vectors, at most COLUMNS. */
#define BY_COLUMNS(BODY, columns)                                      \
    do {                                                               \
        if ((columns) == 4) BODY(4);                                   \
        else if ((columns) == 3) BODY(3);                              \
        else if ((columns) == 2) BODY(2);                              \
        else BODY(1);                                                  \
    } while (0)

/* The vectors of panel n: COLUMNS, fewer in the last one. */
INLINE int64_t panel_columns(int64_t H, int64_t n) {
    int64_t left = padded(H) / LANES - n;
    return left < COLUMNS ? left : COLUMNS;
}

/* (K, H), of which element (k, h) is from[k k_step + h h_step], into panels (K, columns, LANES); 0 beyond H. */
static inline real *pack_panels(int64_t K, int64_t H, const real *from, int64_t k_step, int64_t h_step, real *to) {
    for (int64_t n = 0; n < padded(H) / LANES; n += COLUMNS) {
        int64_t width = panel_columns(H, n) * LANES;
        for (int64_t k = 0; k < K; k++)
            for (int64_t u = n * LANES; u < n * LANES + width; u++)
                *to++ = u < H ? from[k * k_step + u * h_step] : 0;
    }
    return to;
}

/* The recurrent weights for `product_back`, from rows (blocks H) of length `stride`: blocks, panels, (H, columns). */
static inline void pack_back(int blocks, int64_t H, const real *U, int64_t stride, real *to) {
    for (int b = 0; b < blocks; b++) to = pack_panels(H, H, U + b * H * stride, stride, 1, to);
}

/* The weights of the sums over x and h for LANES units at a time: the biases of all blocks, then for each input the
   weights of the blocks that take x (the first `blocks - from_h`), then for each h those of the blocks from `from_h`.
   packed: (blocks H, I + 1 + H), rows of [W, b, U]. */
static inline void pack_gates(int blocks, int from_h, int64_t I, int64_t H, const real *packed, real *to) {
    int64_t row = I + 1 + H;
    for (int64_t n = 0; n < padded(H); n += LANES)
        for (int64_t k = 0; k < row; k++) {
            int64_t column = k == 0 ? I : k <= I ? k - 1 : k; /* in `packed` the bias is behind the inputs */
            int first = k > I ? from_h : 0, last = k > 0 && k <= I ? blocks - from_h : blocks;
            for (int b = first; b < last; b++)
                for (int64_t u = n; u < n + LANES; u++) *to++ = u < H ? packed[(b * H + u) * row + column] : 0;
        }
}

/* dh (B, padded H) += dz U, with dz (B, dz_row), whose `blocks` blocks are padded H wide, and U of `pack_back`. */
static inline void product_back(int blocks, int64_t B, int64_t H, const real *dz, int64_t dz_row, const real *U,
                                real *dh) {
    int64_t P = padded(H);
    for (int64_t n = 0; n < P / LANES; n += COLUMNS) {
        int64_t columns = panel_columns(H, n);
        for (int b = 0; b < blocks; b++)
            for (int64_t k = 0; k < H; k += BLOCK) {
                int64_t K = H - k < BLOCK ? H - k : BLOCK;
                const real *W = U + b * H * P + n * LANES * H + k * columns * LANES, *A = dz + b * P + k;
#define TILE(rows, columns) add_tile(rows, columns, K, A + r * dz_row, dz_row, W, dh + r * P + n * LANES, P)
#define BODY(columns) OVER_ROWS(TILE, columns, B)
                BY_COLUMNS(BODY, columns);
#undef BODY
#undef TILE
            }
    }
}

#endif
