// Convolution whose filters read one channel each, F of them every channel: a Shape of C = 1. Sums
// so short are no product that could be tiled; a thread adds up its own.

template <class S, class Out>
__device__ void depthwise_forward(const real* x, const real* w, const real* bias, real* y,
                                  int total, const Out out) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    const int map = i / S::OUT, filter = map % S::FILTERS, p = i % S::OUT;
    const int channel = map / S::FILTERS * S::CHANNELS + filter / S::F;  // of all samples'
    const Window window = {x + channel * S::PLANE, p / S::OW * S::STRIDE_Y - S::TOP,
                           p % S::OW * S::STRIDE_X - S::LEFT};
    real sum = 0;
    for (int fy = 0; fy < S::FH; ++fy)
        for (int fx = 0; fx < S::FW; ++fx) {
            const real* at = seen<S>(window, 0, fy, fx);
            if (at) sum += w[filter * S::PLACES + fy * S::FW + fx] * *at;
        }
    y[i] = out.value(S::BIAS ? sum + bias[filter] : sum, i);
}

template <class S, class Below>
__device__ void depthwise_backward(const real* x, const real* w, const real* d, real* dx, int total,
                                   const Below below) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    const int map = i / S::PLANE, q = i % S::PLANE, filter = map % S::CHANNELS * S::F;
    const Pixel pixel = {d + map * S::F * S::OUT, q / S::W + S::TOP, q % S::W + S::LEFT};
    real sum = 0;
    for (int f = 0; f < S::F; ++f)
        for (int fy = 0; fy < S::FH; ++fy)
            for (int fx = 0; fx < S::FW; ++fx) {
                const real* at = returned<S>(pixel, f, fy, fx);
                if (at) sum += w[(filter + f) * S::PLACES + fy * S::FW + fx] * *at;
            }
    below.leave(dx, i, sum, x[i]);
}

// A block has one weight of one filter, by blockIdx.y; behind the last stands the bias.
template <class S, int THREADS>
__device__ void depthwise_gradient(const real* x, const real* d, real* parts, int samples) {
    const int filter = blockIdx.x, place = blockIdx.y;
    const bool is_bias = place == S::PLACES;
    real sum = 0;
    for (int j = threadIdx.x; j < samples * S::OUT; j += THREADS) {
        const int n = j / S::OUT, p = j % S::OUT;
        const Window window = {x + (n * S::CHANNELS + filter / S::F) * S::PLANE,
                               p / S::OW * S::STRIDE_Y - S::TOP, p % S::OW * S::STRIDE_X - S::LEFT};
        const real back = d[(n * S::FILTERS + filter) * S::OUT + p];
        const real* at = is_bias ? nullptr : seen<S>(window, 0, place / S::FW, place % S::FW);
        sum += is_bias ? back : at ? back * *at : 0;
    }
    const real total = block_sum<THREADS>(sum);
    if (threadIdx.x == 0)
        parts[is_bias ? S::FILTERS * S::PLACES + filter : filter * S::PLACES + place] = total;
}
