// Losses of scores z (N, K), a thread for each sample: its loss, and its part of dz, taken back to
// before the last layer's chain; both times the weight that the loss has among others. Targets are
// labels (N,) or rows (N, K). A label that is no class makes NaN, which no loss hides.

template <int K>
struct Labels {
    const int* t;
    __device__ real operator()(int n, int k) const {
        return t[n] < 0 || t[n] >= K ? log(real(-1)) : t[n] == k ? 1 : 0;
    }
};

template <int K>
struct Rows {
    const real* t;
    __device__ real operator()(int n, int k) const { return t[n * K + k]; }
};

// -sum t log softmax(z), where t becomes (1 - s) t + s / K, and 0 log 0 is 0.
template <int K, class Targets, class Below>
__device__ void softmax_loss(const real* z, const Targets t, real* losses, real* dz, int samples,
                             real weight, real smoothing, const Below below) {
    const int n = blockIdx.x * blockDim.x + threadIdx.x;
    if (n >= samples) return;
    const real* row = z + n * K;
    real top = row[0];
    for (int k = 1; k < K; ++k) top = row[k] > top ? row[k] : top;
    real total = 0;
    for (int k = 0; k < K; ++k) total += exp(row[k] - top);
    const real log_total = log(total);
    real loss = 0;
    for (int k = 0; k < K; ++k) {
        const real target = (1 - smoothing) * t(n, k) + smoothing / K, shifted = row[k] - top;
        loss -= target == 0 ? 0 : target * (shifted - log_total);
        const real slope = (exp(shifted) / total - target) / samples;
        below.leave(dz, n * K + k, slope * weight, row[k]);
    }
    losses[n] = loss * weight;
}

// Costs of each score by itself, and their derivatives.
struct SquaredError {
    static __device__ real value(real z, real t) { return (z - t) * (z - t) / 2; }
    static __device__ real slope(real z, real t) { return z - t; }
};
// -t log s - (1 - t) log(1 - s) for s = sigmoid(z), without a logarithm of 0
struct SigmoidCrossEntropy {
    static __device__ real value(real z, real t) {
        const real slope = z > 0 ? 1 - t : -t;
        return (slope == 0 ? 0 : slope * z) + log1p(exp(z > 0 ? -z : z));
    }
    static __device__ real slope(real z, real t) { return 1 / (1 + exp(-z)) - t; }
};

template <int K, class Cost, class Targets, class Below>
__device__ void summed_loss(const real* z, const Targets t, real* losses, real* dz, int samples,
                            real weight, const Below below) {
    const int n = blockIdx.x * blockDim.x + threadIdx.x;
    if (n >= samples) return;
    real loss = 0;
    for (int k = 0; k < K; ++k) {
        const int i = n * K + k;
        loss += Cost::value(z[i], t(n, k));
        below.leave(dz, i, Cost::slope(z[i], t(n, k)) / samples * weight, z[i]);
    }
    losses[n] = loss * weight;
}
