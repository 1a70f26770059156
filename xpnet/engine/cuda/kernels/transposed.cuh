// Transposed convolution: x (N, C, H, W), w (C, F, FH, FW), b (F) if there is a BIAS, y (N, F, OH,
// OW). Its way back is the way there of a convolution from F channels to C filters, over y, whose
// Shape the gradients are made for. Its own way there is that convolution's way back, but most terms
// of that would be 0: here each block of STRIDE_Y x STRIDE_X pixels of y is a column of the product,
// with a row for each of its pixels and filters, for all of them see the same pixels of x. That is a
// convolution of x, with steps of 1, whose Shape is `S`.

// How the blocks lie in y: SKIP_Y and SKIP_X are the pixels of the first ones that are cut off.
template <int F_, int FH_, int FW_, int STRIDE_Y_, int STRIDE_X_, int SKIP_Y_, int SKIP_X_, int OH_,
          int OW_, bool BIAS_>
struct Blocks {
    static constexpr int F = F_, FH = FH_, FW = FW_, STRIDE_Y = STRIDE_Y_, STRIDE_X = STRIDE_X_,
                         SKIP_Y = SKIP_Y_, SKIP_X = SKIP_X_, OH = OH_, OW = OW_;
    static constexpr bool BIAS = BIAS_;
};

// y(f, pixel (u, v) of block p) = chain(sum over terms of w(term's channel, f, place) seen(p, term)
// + b(f)), where the pixel of x that a block sees last is the one that its window begins with.
template <class S, class B, class Out>
struct TransposedForward {
    static constexpr bool A_ALONG_K = false, B_ALONG_K = false, SHARED = true;
    static constexpr int GROUPS = 1;
    const real *x, *w, *bias;
    real* y;
    int blocks;  // of the batch
    Out out;

    template <int BK>
    using In = Terms<BK, S::C, S::PLACES>;
    // A filter, and the pixel of a block.
    struct Row {
        int f, u, v;
    };
    template <int BK>
    struct Left {
        Row row;
        In<BK> terms;
    };

    __device__ Row row(int m) const {
        const int pixel = m % (B::STRIDE_Y * B::STRIDE_X);
        return {m / (B::STRIDE_Y * B::STRIDE_X), pixel / B::STRIDE_X, pixel % B::STRIDE_X};
    }
    __device__ Window column(int p) const { return window_of<S>(x, p, blocks); }
    __device__ Nothing depth(int) const { return {}; }
    template <int BK>
    __device__ Left<BK> left(const Row& row, int k0, Nothing) const {
        return {row, {k0}};
    }
    template <int BK>
    __device__ Column<Window, In<BK>> right(const Window& window, int k0, Nothing) const {
        const In<BK> in{k0};
        const int place = in.place(0);
        const real* first = nullptr;
        if (in.ONE_PLACE)
            first = seen<S>(window, in.channel(0), place / S::FW, place % S::FW);
        return {window, first, in};
    }
    template <int BK>
    __device__ real a(const Left<BK>& left, int k) const {
        const Row& row = left.row;
        const int place = left.terms.place(k);
        const int fy = (S::FH - 1 - place / S::FW) * B::STRIDE_Y + row.u;
        const int fx = (S::FW - 1 - place % S::FW) * B::STRIDE_X + row.v;
        if (row.f >= B::F || fy >= B::FH || fx >= B::FW || !left.terms.has(k)) return 0;
        return w[((left.terms.channel(k) * B::F + row.f) * B::FH + fy) * B::FW + fx];
    }
    template <int BK>
    __device__ real b(const Column<Window, In<BK>>& column, int k) const {
        const In<BK>& in = column.terms;
        if (in.ONE_PLACE) return column.first ? column.first[k * S::PLANE] : 0;
        const int place = in.place(k);
        const real* at = seen<S>(column.from, in.channel(k), place / S::FW, place % S::FW);
        return at && in.has(k) ? *at : 0;
    }
    __device__ void store(int m, int p, real sum, int) const {
        const Row at = row(m);
        const int block = p % S::OUT;
        const int oy = block / S::OW * B::STRIDE_Y + at.u - B::SKIP_Y;
        const int ox = block % S::OW * B::STRIDE_X + at.v - B::SKIP_X;
        if ((unsigned)oy >= B::OH || (unsigned)ox >= B::OW) return;
        const int i = ((p / S::OUT * B::F + at.f) * B::OH + oy) * B::OW + ox;
        y[i] = out.value(B::BIAS ? sum + bias[at.f] : sum, i);
    }
};

// What follows a convolution that is a way back: the slope of the layer below.
template <class Below>
struct Back {
    Below below;
    const real *dx, *x;
    __device__ real value(real gradient, int i) const { return below.left(dx, i, gradient, x[i]); }
};

// db(f) = sum of d(f, p) over samples and pixels. A block has one filter, by blockIdx.x, and an
// equal share of the samples, by blockIdx.y, whose sum stands in that part behind the weights.
template <int F, int PLANE, int WEIGHTS, int THREADS>
__device__ void bias_gradient(const real* d, real* parts, int samples) {
    const int f = blockIdx.x, part = blockIdx.y, count = gridDim.y;
    const int first = (long long)samples * part / count;
    const int last = (long long)samples * (part + 1) / count;
    real sum = 0;
    for (int j = threadIdx.x; j < (last - first) * PLANE; j += THREADS)
        sum += d[((first + j / PLANE) * F + f) * PLANE + j % PLANE];
    const real total = block_sum<THREADS>(sum);
    if (threadIdx.x == 0) parts[(long long)part * (WEIGHTS + F) + WEIGHTS + f] = total;
}
