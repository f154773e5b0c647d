/* The tanh RNN: h_t = tanh(W x_t + U h_{t-1} + b) and dz = dh (1 - h_t^2). */
#define NAME(part) rnn_##part
#define OF_SUM(z) tanh_of(z)
#define SLOPE(h, d) ((d) * slope_of_tanh(h))
#include "rnn.h"
