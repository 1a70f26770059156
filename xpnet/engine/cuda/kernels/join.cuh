// Where layers meet side by side. A thread does all that concerns its number in every branch, one
// after the other: one value may be several branches, and is then left its gradients in order.

// Of a Branch's part of a joined output: number i of a branch, of SIZE numbers a sample, is number
// `of(i)` of outputs of TOTAL numbers a sample, in which FIRST are before it.
template <int SIZE, int FIRST, int TOTAL>
struct Slice {
    static __device__ int of(int i) { return i / SIZE * TOTAL + FIRST + i % SIZE; }
    static __device__ bool has(int i, int samples) { return i < samples * SIZE; }
};

template <class S, class Out>
__device__ void join_forward(const real* x, real* y, int i, int samples, const Out out) {
    if (S::has(i, samples)) y[S::of(i)] = out.value(x[i], S::of(i));
}

template <class S, class Below>
__device__ void join_backward(const real* x, const real* d, real* dx, int i, int samples,
                              const Below below) {
    if (S::has(i, samples)) below.leave(dx, i, d[S::of(i)], x[i]);
}

// Every STRIDE-th pixel of images (N, C, H, W), in channels from BEFORE on of (N, CHANNELS, OH, OW).
template <int C_, int H_, int W_, int STRIDE_, int BEFORE_, int CHANNELS_, int OH_, int OW_>
struct Padding {
    static constexpr int C = C_, H = H_, W = W_, STRIDE = STRIDE_, BEFORE = BEFORE_,
                         CHANNELS = CHANNELS_, OH = OH_, OW = OW_;
};

template <class S, class Out>
__device__ void pad_forward(const real* x, real* y, int total, const Out out) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    const int n = i / (S::CHANNELS * S::OH * S::OW), c = i / (S::OH * S::OW) % S::CHANNELS;
    const int oy = i / S::OW % S::OH, ox = i % S::OW, from = c - S::BEFORE;
    const bool inside = from >= 0 && from < S::C;
    const int at = ((n * S::C + from) * S::H + oy * S::STRIDE) * S::W + ox * S::STRIDE;
    y[i] = out.value(inside ? x[at] : 0, i);
}

template <class S, class Below>
__device__ void pad_backward(const real* x, const real* d, real* dx, int total,
                             const Below below) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    const int n = i / (S::C * S::H * S::W), c = i / (S::H * S::W) % S::C;
    const int y = i / S::W % S::H, z = i % S::W;
    const bool seen = y % S::STRIDE == 0 && z % S::STRIDE == 0;
    const int at = ((n * S::CHANNELS + S::BEFORE + c) * S::OH + y / S::STRIDE) * S::OW;
    below.leave(dx, i, seen ? d[at + z / S::STRIDE] : 0, x[i]);
}
