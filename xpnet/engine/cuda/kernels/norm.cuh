// Batch normalization of x (N, FEATURES, PLANE): one block for each feature or, where images are
// large, several side by side along y. Those are launched twice: first each leaves the sums of its
// share of the feature's numbers, then each adds up what all of them left, in the same order.

constexpr int NORM_THREADS = 512;

// Number j of the block's feature, as an index of x.
template <int FEATURES, int PLANE>
__device__ int norm_place(int j) {
    return (j / PLANE * FEATURES + blockIdx.x) * PLANE + j % PLANE;
}

// A block's numbers among the m of its feature, from `first` to before `last`; at least one.
struct Share {
    int first, last;
    __device__ int count() const { return last - first; }
};
__device__ inline Share share_of(int m, int block) {
    const int length = (m + (int)gridDim.y - 1) / (int)gridDim.y, first = block * length;
    return {first, first + length < m ? first + length : m};
}

// A mean, and the sum of squares of what differs from it.
struct Spread {
    real mean, squares;
};

// Of the block's share.
template <int FEATURES, int PLANE>
__device__ Spread norm_measure(const real* x, int samples) {
    const Share own = share_of(samples * PLANE, blockIdx.y);
    real sum = 0;
#pragma unroll 4
    for (int j = own.first + threadIdx.x; j < own.last; j += NORM_THREADS)
        sum += x[norm_place<FEATURES, PLANE>(j)];
    const real mu = block_sum<NORM_THREADS>(sum) / own.count();
    sum = 0;
#pragma unroll 4
    for (int j = own.first + threadIdx.x; j < own.last; j += NORM_THREADS) {
        const real difference = x[norm_place<FEATURES, PLANE>(j)] - mu;
        sum += difference * difference;
    }
    return {mu, block_sum<NORM_THREADS>(sum)};
}

// Of the feature, from what its blocks left in (blocks, FEATURES, 2).
template <int FEATURES>
__device__ Spread norm_joined(const real* shares, int m) {
    const int blocks = gridDim.y;
    Spread all = {0, 0};
#pragma unroll 4
    for (int s = 0; s < blocks; ++s)
        all.mean += shares[2 * (s * FEATURES + blockIdx.x)] * share_of(m, s).count();
    all.mean /= m;
#pragma unroll 4
    for (int s = 0; s < blocks; ++s) {
        const real* left = shares + 2 * (s * FEATURES + blockIdx.x);
        const real difference = left[0] - all.mean;
        all.squares += left[1] + share_of(m, s).count() * (difference * difference);
    }
    return all;
}

// The first of two launches.
template <int FEATURES, int PLANE>
__device__ void norm_shares(const real* x, real* shares, int samples) {
    const Spread own = norm_measure<FEATURES, PLANE>(x, samples);
    if (threadIdx.x != 0) return;
    real* left = shares + 2 * (blockIdx.y * FEATURES + blockIdx.x);
    left[0] = own.mean;
    left[1] = own.squares;
}

// All in one launch, or the second of two, that finds SHARES.
template <int FEATURES, int PLANE, bool SHARES, class Out>
__device__ void norm_forward(const real* x, const real* shares, const real* gamma,
                             const real* beta, real* mean, real* std, real* running_mean,
                             real* running_var, real* y, int samples, real momentum, real eps,
                             int ddof, int running_ddof, const Out out) {
    const int feature = blockIdx.x, m = samples * PLANE;
    const Spread all = SHARES ? norm_joined<FEATURES>(shares, m)
                              : norm_measure<FEATURES, PLANE>(x, samples);
    const real mu = all.mean, var = all.squares / (m - ddof), root = sqrt(var + eps);
    if (threadIdx.x == 0 && blockIdx.y == 0) {
        mean[feature] = mu;
        std[feature] = root;
        running_mean[feature] = momentum * running_mean[feature] + (1 - momentum) * mu;
        const real kept = all.squares / (m - running_ddof);
        running_var[feature] = momentum * running_var[feature] + (1 - momentum) * kept;
    }
    const Share own = share_of(m, blockIdx.y);
    const real scale = gamma[feature], shift = beta[feature];
#pragma unroll 4
    for (int j = own.first + threadIdx.x; j < own.last; j += NORM_THREADS) {
        const int i = norm_place<FEATURES, PLANE>(j);
        y[i] = out.value(scale * ((x[i] - mu) / root) + shift, i);
    }
}

template <int FEATURES, int PLANE, class Out>
__device__ void norm_infer(const real* x, const real* gamma, const real* beta,
                           const real* running_mean, const real* running_var, real* y, int total,
                           real eps, const Out out) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    const int feature = i / PLANE % FEATURES;
    const real xhat = (x[i] - running_mean[feature]) / sqrt(running_var[feature] + eps);
    y[i] = out.value(gamma[feature] * xhat + beta[feature], i);
}

// Gradients by gamma and beta.
struct Slopes {
    real gamma, beta;
};

// Of the block's share.
template <int FEATURES, int PLANE>
__device__ Slopes norm_slopes(const real* x, const real* d, real mu, real root, int samples) {
    const Share own = share_of(samples * PLANE, blockIdx.y);
    real sum = 0, product = 0;
#pragma unroll 4
    for (int j = own.first + threadIdx.x; j < own.last; j += NORM_THREADS) {
        const int i = norm_place<FEATURES, PLANE>(j);
        sum += d[i];
        product += d[i] * ((x[i] - mu) / root);
    }
    const real beta = block_sum<NORM_THREADS>(sum);
    return {block_sum<NORM_THREADS>(product), beta};
}

// What a backward pass does: both in one launch, or the first before the second. Block number s of a
// feature leaves its slopes in `parts` (s, 2, FEATURES).
enum NormTask { SUMS = 1, RETURNS = 2 };

// Mean and std of a BATCH depend on x, others do not; nobody may want the GRADS.
template <int FEATURES, int PLANE, int TASK, bool BATCH, bool GRADS, class Below>
__device__ void norm_backward(const real* x, const real* d, const real* gamma, const real* mean,
                              const real* std, real eps, real* parts, real* dx, int samples,
                              int ddof, const Below below) {
    const int feature = blockIdx.x, m = samples * PLANE, blocks = gridDim.y;
    const real mu = mean[feature], root = BATCH ? std[feature] : sqrt(std[feature] + eps);
    Slopes all = {0, 0};
    if (TASK & SUMS) {
        all = norm_slopes<FEATURES, PLANE>(x, d, mu, root, samples);
        if (GRADS && threadIdx.x == 0) {
            real* part = parts + blockIdx.y * (2 * FEATURES);
            part[feature] = all.gamma;
            part[FEATURES + feature] = all.beta;
        }
    } else if (BATCH) {
#pragma unroll 4
        for (int s = 0; s < blocks; ++s) {
            all.gamma += parts[2 * s * FEATURES + feature];
            all.beta += parts[(2 * s + 1) * FEATURES + feature];
        }
    }
    if (!(TASK & RETURNS)) return;
    const real scale = gamma[feature] / root, a = all.beta / m, b = all.gamma / (m - ddof);
    const Share own = share_of(m, blockIdx.y);
#pragma unroll 4
    for (int j = own.first + threadIdx.x; j < own.last; j += NORM_THREADS) {
        const int i = norm_place<FEATURES, PLANE>(j);
        const real xhat = (x[i] - mu) / root;
        below.leave(dx, i, scale * (BATCH ? d[i] - a - xhat * b : d[i]), x[i]);
    }
}
