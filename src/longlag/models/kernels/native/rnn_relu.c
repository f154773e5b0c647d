/* The ReLU RNN: h_t = max(W x_t + U h_{t-1} + b, 0); dz = dh where h_t > 0 (and where h_t is NaN), otherwise 0. */
#define NAME(part) rnn_relu_##part
#define OF_SUM(z) at_least(z, 0)
#define SLOPE(h, d) choose((bits)((h) <= all(0)), all(0), (d))
#include "rnn.h"
