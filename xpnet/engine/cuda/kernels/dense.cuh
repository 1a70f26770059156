// Fully connected layers: x (N, IN), W (IN, OUT), b (OUT), y (N, OUT).

// y = chain(x W + b)
template <int IN, int OUT, class Out>
struct DenseForward {
    static constexpr bool A_ALONG_K = true, B_ALONG_K = false, SHARED = true;
    const real *x, *W, *bias;
    real* y;
    int samples;
    Out out;

    typedef int Row, Column;
    __device__ Row row(int m) const { return m; }
    __device__ Column column(int n) const { return n; }
    template <int BK>
    __device__ real a(int m, int k0, int k) const {
        return m < samples && k0 + k < IN ? x[m * IN + k0 + k] : 0;
    }
    template <int BK>
    __device__ real b(int k0, int k, int n) const {
        return k0 + k < IN && n < OUT ? W[(k0 + k) * OUT + n] : 0;
    }
    __device__ void store(int m, int n, real sum, int) const {
        const int i = m * OUT + n;
        y[i] = out.value(sum + bias[n], i);
    }
};

// d before the layer below = d W^T times that layer's slope, where x is what it put out.
template <int IN, int OUT, class Below>
struct DenseBackward {
    static constexpr bool A_ALONG_K = true, B_ALONG_K = true, SHARED = true;
    const real *d, *W, *x;
    real* dx;
    int samples;
    Below below;

    typedef int Row, Column;
    __device__ Row row(int m) const { return m; }
    __device__ Column column(int n) const { return n; }
    template <int BK>
    __device__ real a(int m, int k0, int k) const {
        return m < samples && k0 + k < OUT ? d[m * OUT + k0 + k] : 0;
    }
    template <int BK>
    __device__ real b(int k0, int k, int n) const {
        return k0 + k < OUT && n < IN ? W[n * OUT + k0 + k] : 0;
    }
    __device__ void store(int m, int n, real sum, int) const {
        const int i = m * IN + n;
        dx[i] = sum * below.slope(x[i], i);
    }
};

// dW = x^T d, and db as one more row: x with a column of ones. Parts of the sum over samples are
// kept apart: part, then W and b.
template <int IN, int OUT>
struct DenseGradient {
    static constexpr bool A_ALONG_K = false, B_ALONG_K = false, SHARED = false;
    const real *x, *d;
    real* parts;
    int samples;

    typedef int Row, Column;
    __device__ Row row(int m) const { return m; }
    __device__ Column column(int n) const { return n; }
    template <int BK>
    __device__ real a(int m, int k0, int k) const {
        if (k0 + k >= samples || m > IN) return 0;
        return m == IN ? 1 : x[(k0 + k) * IN + m];
    }
    template <int BK>
    __device__ real b(int k0, int k, int n) const {
        return k0 + k < samples && n < OUT ? d[(k0 + k) * OUT + n] : 0;
    }
    __device__ void store(int m, int n, real sum, int split) const {
        parts[(long long)split * (IN + 1) * OUT + m * OUT + n] = sum;
    }
};
