// Fully connected layers: x (N, IN), W (IN, OUT), b (OUT) if there is a BIAS, y (N, OUT).

// y = chain(x W + b)
template <int IN, int OUT, bool BIAS, class Out>
struct DenseForward {
    static constexpr bool A_ALONG_K = true, B_ALONG_K = false, SHARED = true;
    static constexpr int GROUPS = 1;
    const real *x, *W, *bias;
    real* y;
    int samples;
    Out out;

    __device__ int row(int m) const { return m; }
    __device__ int column(int n) const { return n; }
    __device__ Nothing depth(int) const { return {}; }
    template <int BK>
    __device__ Run left(int m, int k0, Nothing) const {
        return {x + m * IN + k0, m < samples ? IN - k0 : 0};
    }
    template <int BK>
    __device__ Run right(int n, int k0, Nothing) const {
        return {W + k0 * OUT + n, n < OUT ? IN - k0 : 0};
    }
    template <int BK>
    __device__ real a(const Run& run, int k) const {
        return run.at<1>(k);
    }
    template <int BK>
    __device__ real b(const Run& run, int k) const {
        return run.at<OUT>(k);
    }
    __device__ void store(int m, int n, real sum, int) const {
        const int i = m * OUT + n;
        y[i] = out.value(BIAS ? sum + bias[n] : sum, i);
    }
};

// d before the layer below = d W^T times that layer's slope, where x is what it put out.
template <int IN, int OUT, bool BIAS, class Below>
struct DenseBackward {
    static constexpr bool A_ALONG_K = true, B_ALONG_K = true, SHARED = true;
    static constexpr int GROUPS = 1;
    const real *d, *W, *x;
    real* dx;
    int samples;
    Below below;

    __device__ int row(int m) const { return m; }
    __device__ int column(int n) const { return n; }
    __device__ Nothing depth(int) const { return {}; }
    template <int BK>
    __device__ Run left(int m, int k0, Nothing) const {
        return {d + m * OUT + k0, m < samples ? OUT - k0 : 0};
    }
    template <int BK>
    __device__ Run right(int n, int k0, Nothing) const {
        return {W + n * OUT + k0, n < IN ? OUT - k0 : 0};
    }
    template <int BK>
    __device__ real a(const Run& run, int k) const {
        return run.at<1>(k);
    }
    template <int BK>
    __device__ real b(const Run& run, int k) const {
        return run.at<1>(k);
    }
    __device__ void store(int m, int n, real sum, int) const {
        const int i = m * IN + n;
        below.leave(dx, i, sum, x[i]);
    }
};

// dW = x^T d, and db as one more row: x with a column of ones. Parts of the sum over samples are
// kept apart: part, then W and b.
template <int IN, int OUT, bool BIAS>
struct DenseGradient {
    static constexpr bool A_ALONG_K = false, B_ALONG_K = false, SHARED = false;
    static constexpr int GROUPS = 1;
    const real *x, *d;
    real* parts;
    int samples;

    __device__ int row(int m) const { return m; }
    __device__ int column(int n) const { return n; }
    __device__ Nothing depth(int) const { return {}; }
    template <int BK>
    __device__ Run left(int m, int k0, Nothing) const {
        return {m < IN ? x + k0 * IN + m : nullptr, m < IN + BIAS ? samples - k0 : 0};
    }
    template <int BK>
    __device__ Run right(int n, int k0, Nothing) const {
        return {d + k0 * OUT + n, n < OUT ? samples - k0 : 0};
    }
    template <int BK>
    __device__ real a(const Run& run, int k) const {
        return k >= run.count ? 0 : run.first ? run.first[k * IN] : 1;
    }
    template <int BK>
    __device__ real b(const Run& run, int k) const {
        return run.at<OUT>(k);
    }
    __device__ void store(int m, int n, real sum, int split) const {
        parts[(long long)split * (IN + BIAS) * OUT + m * OUT + n] = sum;
    }
};
