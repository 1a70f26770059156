// Activations and dropout that stand by themselves.

template <class Out>
__device__ void pointwise_forward(const real* x, real* y, int total, const Out out) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < total) y[i] = out.value(x[i], i);
}

template <class Below>
__device__ void pointwise_backward(const real* x, const real* d, real* dx, int total,
                                   const Below below) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < total) below.leave(dx, i, d[i], x[i]);
}
