/* Vectors of LANES numbers, and exp, sigmoid and tanh on them. The compiler chooses the instructions (AVX-512, AVX2,
   NEON, SSE2). Numbers are floats; with -DLONGLAG_DOUBLE they are doubles, which the tests use.

   sigmoid and tanh have a relative error of a few roundings, for small arguments too, and keep NaN. */
#ifndef LONGLAG_VECTOR_H
#define LONGLAG_VECTOR_H

#include <stdint.h>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#ifdef LONGLAG_DOUBLE
typedef double real;
typedef int64_t whole;
#define SIZE 8
#define MANTISSA_BITS 52
#define ROUNDER 6755399441055744.0 /* 1.5 2^52: adding it rounds to a whole number, which the low bits then hold */
#define EXP_LIMIT 707.0
#define TANH_LIMIT 20.0 /* from here on tanh is 1 */
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#else
typedef float real;
typedef int32_t whole;
#define SIZE 4
#define MANTISSA_BITS 23
#define ROUNDER 12582912.0f
#define EXP_LIMIT 87.3f
#define TANH_LIMIT 9.5f
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f
#endif

#define LANES (VECTOR_BYTES / SIZE)
#define INLINE static inline __attribute__((always_inline))

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef whole bits __attribute__((vector_size(VECTOR_BYTES)));
typedef real unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(SIZE), may_alias));

INLINE vec load(const real *from) { return *(const unaligned *)from; }
INLINE void store(real *to, vec x) { *(unaligned *)to = x; }
INLINE vec all(real x) { return x - (vec){0}; }

/* The hidden size rounded up to whole vectors; the arrays of the states and the gates have this width. */
INLINE int64_t padded(int64_t hidden) { return (hidden + LANES - 1) / LANES * LANES; }

INLINE vec choose(bits where, vec yes, vec no) { return (vec)((where & (bits)yes) | (~where & (bits)no)); }

/* min(x, limit); NaN stays NaN. */
INLINE vec at_most(vec x, real limit) { return choose((bits)(x > all(limit)), all(limit), x); }
INLINE vec at_least(vec x, real limit) { return choose((bits)(x < all(limit)), all(limit), x); }

/* Split x = n ln 2 + r; return exp(r) - 1, which is accurate for a small r, and write 2^n. */
INLINE vec exp_minus_1(vec x, vec *power) {
    vec shifted = x * all((real)1.44269504088896340736) + all(ROUNDER);
    vec n = shifted - all(ROUNDER);
    vec r = x - n * all(LN2_HIGH) - n * all(LN2_LOW);
    *power = (vec)(((bits)shifted << MANTISSA_BITS) + (bits)all(1));
#ifdef LONGLAG_DOUBLE /* the series up to r^13 / 13! */
    vec p = all(1 / 6227020800.0);
    p = p * r + all(1 / 479001600.0);
    p = p * r + all(1 / 39916800.0);
    p = p * r + all(1 / 3628800.0);
    p = p * r + all(1 / 362880.0);
    p = p * r + all(1 / 40320.0);
    p = p * r + all(1 / 5040.0);
    p = p * r + all(1 / 720.0);
    p = p * r + all(1 / 120.0);
    p = p * r + all(1 / 24.0);
    p = p * r + all(1 / 6.0);
#else /* a polynomial as close as floats can be; its coefficients are those of the Cephes library's expf */
    vec p = all(1.9875691500e-4f);
    p = p * r + all(1.3981999507e-3f);
    p = p * r + all(8.3334519073e-3f);
    p = p * r + all(4.1665795894e-2f);
    p = p * r + all(1.6666665459e-1f);
#endif
    p = p * r + all((real)0.5);
    return p * (r * r) + r;
}

/* 1 / (1 + exp(-x)), and 0 where exp(-x) exceeds the range */
INLINE vec sigmoid(vec x) {
    vec power, rest = exp_minus_1(at_least(at_most(-x, EXP_LIMIT), -EXP_LIMIT), &power);
    return choose((bits)(x < all(-EXP_LIMIT)), all(0), all(1) / (rest * power + (power + all(1))));
}

/* (exp(2|x|) - 1) / (exp(2|x|) + 1), with the sign of x */
INLINE vec tanh_of(vec x) {
    bits sign = (bits)x & (bits)all((real)-0.0);
    vec a = at_most((vec)((bits)x ^ sign), TANH_LIMIT), power;
    vec rest = exp_minus_1(a + a, &power);
    vec e = rest * power + (power - all(1));
    return (vec)((bits)(e / (e + all(2))) | sign);
}

/* The slopes of sigmoid and tanh, given their value y: products, so that a small one keeps its digits. */
INLINE vec slope_of_sigmoid(vec y) { return y * (all(1) - y); }
INLINE vec slope_of_tanh(vec y) { return (all(1) - y) * (all(1) + y); }

#endif
