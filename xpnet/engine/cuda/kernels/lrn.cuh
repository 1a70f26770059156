// Local response normalization across the channels of x (N, C, PLANE): y = x D^-beta, with
// D = k + alpha (the sum of squares of SIZE channels, the number's own in their middle).

template <int C_, int PLANE_, int SIZE_>
struct Across {
    static constexpr int C = C_, PLANE = PLANE_, HALF = SIZE_ / 2;
    // The channels around number i, from first to last.
    static __device__ int first(int i) { return i / PLANE % C < HALF ? 0 : i / PLANE % C - HALF; }
    static __device__ int last(int i) {
        return i / PLANE % C + HALF < C ? i / PLANE % C + HALF : C - 1;
    }
};

template <class S>
__device__ real response(const real* x, int i, real alpha, real k) {
    real sum = 0;
    const real* channels = x + i / (S::C * S::PLANE) * (S::C * S::PLANE) + i % S::PLANE;
    for (int c = S::first(i); c <= S::last(i); ++c) {
        const real a = channels[c * S::PLANE];
        sum += a * a;
    }
    return k + alpha * sum;
}

template <class S, class Out>
__device__ void lrn_forward(const real* x, real alpha, real beta, real k, real* y, int total,
                            const Out out) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    y[i] = out.value(x[i] * pow(response<S>(x, i, alpha, k), -beta), i);
}

// dx = d D^-beta - 2 alpha beta x (the sum of d y / D of the channels around)
template <class S, class Below>
__device__ void lrn_backward(const real* x, real alpha, real beta, real k, const real* d, real* dx,
                             int total, const Below below) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    const int own = i / S::PLANE % S::C;
    real sum = 0, direct = 0;
    for (int c = S::first(i); c <= S::last(i); ++c) {
        const int j = i + (c - own) * S::PLANE;
        const real D = response<S>(x, j, alpha, k), slope = d[j] * pow(D, -beta);
        if (c == own) direct = slope;
        sum += slope * x[j] / D;
    }
    below.leave(dx, i, direct - 2 * alpha * beta * x[i] * sum, x[i]);
}
