// Trainable subsampling of x (N, C, H, W), of even height and width: y = coef S + b, with a coef and
// a b for each channel and S the sum of 2 x 2 pixels.

template <int C_, int H_, int W_>
struct Halving {
    static constexpr int C = C_, H = H_, W = W_, OH = H / 2, OW = W / 2, OUT = OH * OW;
    // The sum that number i of the output is made of.
    static __device__ real sum(const real* x, int i) {
        const real* at = x + (i / OUT * H + i % OUT / OW * 2) * W + i % OW * 2;
        return at[0] + at[1] + at[W] + at[W + 1];
    }
};

template <class S, class Out>
__device__ void subsample_forward(const real* x, const real* coef, const real* b, real* y,
                                  int total, const Out out) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    const int channel = i / S::OUT % S::C;
    y[i] = out.value(coef[channel] * S::sum(x, i) + b[channel], i);
}

template <class S, class Below>
__device__ void subsample_backward(const real* x, const real* coef, const real* d, real* dx,
                                   int total, const Below below) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    const int map = i / (S::H * S::W), oy = i / S::W % S::H / 2, ox = i % S::W / 2;
    below.leave(dx, i, coef[map % S::C] * d[map * S::OUT + oy * S::OW + ox], x[i]);
}

// A block has the gradients of one channel; those of coef come before those of b.
template <class S, int THREADS>
__device__ void subsample_gradient(const real* x, const real* d, real* parts, int samples) {
    const int channel = blockIdx.x;
    real product = 0, sum = 0;
    for (int j = threadIdx.x; j < samples * S::OUT; j += THREADS) {
        const int i = (j / S::OUT * S::C + channel) * S::OUT + j % S::OUT;
        product += d[i] * S::sum(x, i);
        sum += d[i];
    }
    const real of_coef = block_sum<THREADS>(product), of_b = block_sum<THREADS>(sum);
    if (threadIdx.x == 0) {
        parts[channel] = of_coef;
        parts[S::C + channel] = of_b;
    }
}
