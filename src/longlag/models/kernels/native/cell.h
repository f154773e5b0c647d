/* What all cells share. Each file defines three functions, NAME_pack, NAME_forward and NAME_backward.

   Arrays, rows contiguous, with H units padded to P = padded(H); what stands beyond H is of no importance:
     x      inputs, (T, B, I) with the given strides
     h      (T + 1, B, P)     h_0, ..., h_T
     C      (T + 1, B, P)     C_0, ..., C_T; with C_time = 0 the same (B, P) for all steps
     gates  (T, B, blocks, P) values for the backward pass; with g_time = 0 the same (B, blocks, P) for all steps
     p      (3, P)            peephole weights of i, f, o
     d_out  dL/dh_t through the outputs, (T, B, P) with the given strides
     dz     (T, B, blocks, P) dL/dz of the sums z, filled by the backward pass
     dh, dC (B, P)            gradients of the last state, which become those of the first */
#ifndef LONGLAG_CELL_H
#define LONGLAG_CELL_H

#include "product.h"

#define FORWARD(name)                                                                                             \
    void name(int64_t T, int64_t B, int64_t I, int64_t H, const real *x, int64_t x_time, int64_t x_batch,         \
              int64_t x_unit, const real *weights, const real *p, real *h, real *C, int64_t C_time, real *gates,  \
              int64_t g_time)
#define BACKWARD(name)                                                                                            \
    void name(int64_t T, int64_t B, int64_t H, const real *d_out, int64_t d_time, int64_t d_batch, const real *h, \
              const real *C, const real *gates, const real *p, const real *U, real *dz, real *dh, real *dC)
/* From packed (blocks H, I + 1 + H), rows of [W, b, U]: the weights of the forward and of the backward pass, or of one
   of them if the other is NULL. */
#define PACK(name) void name(int64_t I, int64_t H, const real *packed, real *weights, real *U)

/* sums of a tile: b + W x_t + U h_{t-1} for LANES units. W: their part of the weights, see `pack_gates`. */
INLINE void sum_gates(int rows, int blocks, int from_h, int64_t I, int64_t H, const real *x, int64_t x_batch,
                      int64_t x_unit, const real *h, int64_t h_batch, const real *W, vec sums[ROWS][COLUMNS]) {
#pragma GCC unroll 4
    for (int j = 0; j < rows; j++)
#pragma GCC unroll 4
        for (int q = 0; q < blocks; q++) sums[j][q] = load(W + q * LANES);
    W += blocks * LANES;
    accumulate(rows, 0, blocks - from_h, I, x, x_batch, x_unit, W, sums);
    accumulate(rows, from_h, blocks - from_h, H, h, h_batch, 1, W + I * (blocks - from_h) * LANES, sums);
}

/* From registers to memory, so that the cell's equations stand in a loop over the rows. */
INLINE void spill(int rows, int blocks, vec sums[ROWS][COLUMNS], vec to[ROWS][COLUMNS]) {
#pragma GCC unroll 4
    for (int j = 0; j < rows; j++)
#pragma GCC unroll 4
        for (int q = 0; q < blocks; q++) to[j][q] = sums[j][q];
}

#endif
