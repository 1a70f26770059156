// Losses of scores z, (N, K) or (N, K, P) for P places of an image, a thread for each place: its
// loss, and its part of dz, taken back to before the last layer's chain; both times the weight that
// the loss has among others. Targets are labels (N, P) or in the form of z. A label that is no class
// makes NaN, which no loss hides.

// The number of class k's score at place n, of all samples' places.
template <int K, int P>
__device__ inline int score(int n, int k) {
    return (n / P * K + k) * P + n % P;
}

template <int K, int P>
struct Labels {
    const int* t;
    __device__ bool is_class(int n) const { return t[n] >= 0 && t[n] < K; }
    __device__ real operator()(int n, int k) const {
        return !is_class(n) ? log(real(-1)) : t[n] == k ? 1 : 0;
    }
    __device__ bool left_out(int) const { return false; }
    __device__ real counted(int n, const real* weights) const {
        return is_class(n) ? weights[t[n]] : log(real(-1));
    }
};

// One label of which is left out.
template <int K, int P>
struct SomeLabels {
    Labels<K, P> labels;
    int ignore;
    __device__ real operator()(int n, int k) const { return labels(n, k); }
    __device__ bool left_out(int n) const { return labels.t[n] == ignore; }
    __device__ real counted(int n, const real* weights) const {
        return left_out(n) ? 0 : labels.counted(n, weights);
    }
};

template <int K, int P>
struct Rows {
    const real* t;
    __device__ real operator()(int n, int k) const { return t[score<K, P>(n, k)]; }
    __device__ bool left_out(int) const { return false; }
    __device__ real counted(int n, const real* weights) const {
        real sum = 0;
        for (int k = 0; k < K; ++k) sum += weights[k] * t[score<K, P>(n, k)];
        return sum;
    }
};

// What the labels of all places count together, by blocks.
template <int THREADS, class Targets>
__device__ void count_places(const Targets t, const real* weights, real* counted, int places) {
    real sum = 0;
    for (int n = blockIdx.x * THREADS + threadIdx.x; n < places; n += gridDim.x * THREADS)
        sum += t.counted(n, weights);
    const real total = block_sum<THREADS>(sum);
    if (threadIdx.x == 0) counted[blockIdx.x] = total;
}

// -sum t log softmax(z), where t becomes (1 - s) t + s / K, and 0 log 0 is 0: each place's share of
// the mean over a sample's. Where it WEIGHS, t is then multiplied by the classes' weights, and the
// mean is over what is `counted`, of which there are BLOCKS numbers; nothing is learned of nothing.
template <int K, int P, bool WEIGHS, int BLOCKS, class Targets, class Below>
__device__ void softmax_loss(const real* z, const Targets t, real* losses, real* dz, int samples,
                             real weight, real smoothing, const real* weights, const real* counted,
                             const Below below) {
    const int n = blockIdx.x * blockDim.x + threadIdx.x;
    if (n >= samples * P) return;
    real all = samples * P;
    if (WEIGHS) {
        all = 0;
        for (int b = 0; b < BLOCKS; ++b) all += counted[b];
        if (t.left_out(n) || all == 0) {
            for (int k = 0; k < K; ++k) below.leave(dz, score<K, P>(n, k), 0, z[score<K, P>(n, k)]);
            losses[n] = 0;
            return;
        }
    }
    real top = z[score<K, P>(n, 0)];
    for (int k = 1; k < K; ++k) {
        const real next = z[score<K, P>(n, k)];
        top = next > top ? next : top;
    }
    real total = 0, share = WEIGHS ? 0 : 1;
    for (int k = 0; k < K; ++k) total += exp(z[score<K, P>(n, k)] - top);
    for (int k = 0; WEIGHS && k < K; ++k)
        share += ((1 - smoothing) * t(n, k) + smoothing / K) * weights[k];
    const real log_total = log(total);
    real loss = 0;
    for (int k = 0; k < K; ++k) {
        const int i = score<K, P>(n, k);
        real target = (1 - smoothing) * t(n, k) + smoothing / K;
        if (WEIGHS) target *= weights[k];
        const real shifted = z[i] - top, p = exp(shifted) / total;
        loss -= target == 0 ? 0 : target * (shifted - log_total);
        const real slope = ((WEIGHS ? p * share : p) - target) / all;
        below.leave(dz, i, slope * weight, z[i]);
    }
    loss = WEIGHS ? loss * (samples / all) : P > 1 ? loss / P : loss;
    losses[n] = loss * weight;
}

// The losses of samples from those of their P places, a block for each.
template <int THREADS, int P>
__device__ void add_places(const real* places, real* losses) {
    real sum = 0;
    for (int p = threadIdx.x; p < P; p += THREADS) sum += places[blockIdx.x * P + p];
    const real total = block_sum<THREADS>(sum);
    if (threadIdx.x == 0) losses[blockIdx.x] = total;
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
