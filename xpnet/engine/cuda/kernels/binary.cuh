// Layers of numbers of one bit, -1 and 1, and what brings pixels to them.

// 1 where x >= 0, else -1; NaN stays NaN.
__device__ inline real sign_of(real x) { return x >= 0 ? 1 : x < 0 ? -1 : x; }

// Those of weights, for the products that follow.
__device__ inline void signs_of(const real* w, real* signs, int total) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < total) signs[i] = sign_of(w[i]);
}

template <class Out>
__device__ void sign_forward(const real* x, real* y, int total, const Out out) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < total) y[i] = out.value(sign_of(x[i]), i);
}

// As if it were the identity, where x is near to changing its sign.
template <class Below>
__device__ void sign_backward(const real* x, const real* d, real* dx, int total,
                              const Below below) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < total) below.leave(dx, i, x[i] >= -1 && x[i] <= 1 ? d[i] : 0, x[i]);
}

// y = scale x + shift
template <class Out>
__device__ void rescale_forward(const real* x, real scale, real shift, real* y, int total,
                                const Out out) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < total) y[i] = out.value(x[i] * scale + shift, i);
}

template <class Below>
__device__ void rescale_backward(const real* x, real scale, const real* d, real* dx, int total,
                                 const Below below) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < total) below.leave(dx, i, d[i] * scale, x[i]);
}
