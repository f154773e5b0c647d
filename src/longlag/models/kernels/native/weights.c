/* The gradient of the weights, sum over steps and sequences of [x_t, 1, h_{t-1}] dz_t^T: total (K, N) += A^T Z, with
   A (rows, K) and Z (rows, N) of the given row lengths; N is a whole number of vectors. Each block of rows is summed by
   itself before it is added, which also keeps the rounding errors of long sequences small. */
#include "product.h"

INLINE void tile(int rows, int columns, int64_t R, const real *A, int64_t A_row, const real *Z, real *total,
                 int64_t total_row) {
    vec sums[ROWS][COLUMNS] = {0};
    accumulate(rows, 0, columns, R, A, 1, A_row, Z, sums); /* the rows of this tile are columns of A */
#pragma GCC unroll 4
    for (int j = 0; j < rows; j++)
#pragma GCC unroll 4
        for (int q = 0; q < columns; q++) {
            real *to = total + j * total_row + q * LANES;
            store(to, load(to) + sums[j][q]);
        }
}

void add_products(int64_t rows, int64_t K, int64_t N, const real *A, int64_t A_row, const real *Z, int64_t Z_row,
                  real *total, int64_t total_row) {
    real panel[BLOCK * COLUMNS * LANES]; /* a part of Z, (R, columns, LANES) */
    for (int64_t first = 0; first < rows; first += BLOCK, A += BLOCK * A_row, Z += BLOCK * Z_row) {
        int64_t R = rows - first < BLOCK ? rows - first : BLOCK;
        for (int64_t n = 0; n < N; n += COLUMNS * LANES) {
            int64_t width = N - n < COLUMNS * LANES ? N - n : COLUMNS * LANES;
            for (int64_t k = 0; k < R; k++)
                for (int64_t u = 0; u < width; u += LANES) store(panel + k * width + u, load(Z + k * Z_row + n + u));
#define TILE(rows, columns) tile(rows, columns, R, A + r, A_row, panel, total + r * total_row + n, total_row)
#define BODY(columns) OVER_ROWS(TILE, columns, K)
            BY_COLUMNS(BODY, width / LANES);
#undef BODY
#undef TILE
        }
    }
}
