// Batch normalization of x (N, FEATURES, PLANE), one block for each feature.

constexpr int NORM_THREADS = 512;

// Number j of the block's feature, as an index of x.
template <int FEATURES, int PLANE>
__device__ int norm_place(int j) {
    return (j / PLANE * FEATURES + blockIdx.x) * PLANE + j % PLANE;
}

template <int FEATURES, int PLANE, class Out>
__device__ void norm_forward(const real* x, const real* gamma, const real* beta, real* mean,
                             real* std, real* running_mean, real* running_var, real* y,
                             int samples, real momentum, real eps, int ddof, int running_ddof,
                             const Out out) {
    const int feature = blockIdx.x, m = samples * PLANE;
    real sum = 0;
    for (int j = threadIdx.x; j < m; j += NORM_THREADS) sum += x[norm_place<FEATURES, PLANE>(j)];
    const real mu = block_sum<NORM_THREADS>(sum) / m;
    sum = 0;
    for (int j = threadIdx.x; j < m; j += NORM_THREADS) {
        const real difference = x[norm_place<FEATURES, PLANE>(j)] - mu;
        sum += difference * difference;
    }
    const real squares = block_sum<NORM_THREADS>(sum);
    const real var = squares / (m - ddof), root = sqrt(var + eps);
    if (threadIdx.x == 0) {
        mean[feature] = mu;
        std[feature] = root;
        running_mean[feature] = momentum * running_mean[feature] + (1 - momentum) * mu;
        const real kept = squares / (m - running_ddof);
        running_var[feature] = momentum * running_var[feature] + (1 - momentum) * kept;
    }
    for (int j = threadIdx.x; j < m; j += NORM_THREADS) {
        const int i = norm_place<FEATURES, PLANE>(j);
        y[i] = out.value(gamma[feature] * ((x[i] - mu) / root) + beta[feature], i);
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

// dgamma and dbeta go to `part`, one after the other, and dx; each only where somebody reads it.
// Mean and std of a BATCH depend on x, others do not.
template <int FEATURES, int PLANE, bool BATCH, bool NEED_DX, bool NEED_GRADS, class Below>
__device__ void norm_backward(const real* x, const real* d, const real* gamma, const real* mean,
                              const real* std, real eps, real* part, real* dx, int samples,
                              int ddof, const Below below) {
    const int feature = blockIdx.x, m = samples * PLANE;
    const real mu = mean[feature], root = BATCH ? std[feature] : sqrt(std[feature] + eps);
    real sum = 0, product = 0;
    for (int j = threadIdx.x; j < m; j += NORM_THREADS) {
        const int i = norm_place<FEATURES, PLANE>(j);
        sum += d[i];
        product += d[i] * ((x[i] - mu) / root);
    }
    const real dbeta = block_sum<NORM_THREADS>(sum), dgamma = block_sum<NORM_THREADS>(product);
    if (NEED_GRADS && threadIdx.x == 0) {
        part[feature] = dgamma;
        part[FEATURES + feature] = dbeta;
    }
    if (!NEED_DX) return;
    const real scale = gamma[feature] / root, a = dbeta / m, b = dgamma / (m - ddof);
    for (int j = threadIdx.x; j < m; j += NORM_THREADS) {
        const int i = norm_place<FEATURES, PLANE>(j);
        const real xhat = (x[i] - mu) / root;
        below.leave(dx, i, scale * (BATCH ? d[i] - a - xhat * b : d[i]), x[i]);
    }
}
