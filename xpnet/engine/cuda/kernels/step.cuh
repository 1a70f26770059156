// What stands around a network's passes: the batch, the gradient of all parameters, their update,
// and what is counted.
//
// Parameters lie in chunks of 64, no two of them in one chunk. A row of `chunks` says of a chunk:
// where the parts of its gradient begin, how far one part is from the next, how many parts there
// are, how many of the 64 are parameters, and whether they are weights. `factors` has what the
// learning rate is multiplied by for a chunk, and 0 where it does not learn; no gradient has parts
// there, but penalties have a value all the same.

constexpr int CHUNK = 64, COLUMNS = 5;

template <class T>
__device__ real scaled(T x) {
    return x;
}
template <>
__device__ inline real scaled<unsigned char>(unsigned char x) {
    return (real)x / 255;
}

// Batch number *cursor of an epoch, of FEATURES numbers a sample and TARGETS numbers a target.
template <int FEATURES, int TARGETS, class Input, class Target, class Kept>
__device__ void gather_batch(const Input* x, const Target* t, const int* order, const int* cursor,
                       real* batch, Kept* targets, int batch_size, int samples) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const long long start = (long long)*cursor * batch_size;
    if (i < samples * FEATURES) {
        const long long sample = order[start + i / FEATURES];
        batch[i] = scaled<Input>(x[sample * FEATURES + i % FEATURES]);
    }
    if (i < samples * TARGETS) {
        const long long sample = order[start + i / TARGETS];
        targets[i] = (Kept)t[sample * TARGETS + i % TARGETS];
    }
}

// Penalties of weights: what they add to the gradient, and their value.
struct NoPenalty {
    static constexpr bool ANY = false;
    __device__ real gradient(real) const { return 0; }
    __device__ real value(real) const { return 0; }
};
struct L2Penalty {
    static constexpr bool ANY = true;
    real strength;
    __device__ real gradient(real w) const { return strength * w; }
    __device__ real value(real w) const { return strength * w * w / 2; }
};
struct L1Penalty {
    static constexpr bool ANY = true;
    real strength;
    __device__ real gradient(real w) const { return strength * ((w > 0) - (w < 0)); }
    __device__ real value(real w) const { return strength * (w < 0 ? -w : w); }
};

// The gradient of the block's chunk from its parts, penalty included: thread e has that of number
// e, other threads 0. LANES threads share the parts of a number. `penalties` gets the chunk's.
template <int LANES, class Penalty>
__device__ real gathered(const long long* chunks, const double* factors, const real* parts,
                         const real* p, real* penalties, const Penalty penalty) {
    __shared__ real sums[LANES * CHUNK];
    const long long* row = chunks + (long long)blockIdx.x * COLUMNS;
    const int e = threadIdx.x % CHUNK, lane = threadIdx.x / CHUNK;
    const bool real_one = e < row[3];
    real sum = 0;
    if (real_one)
        for (long long s = lane; s < row[2]; s += LANES) sum += parts[row[0] + s * row[1] + e];
    if (LANES > 1) {
        sums[threadIdx.x] = sum;
        __syncthreads();
        for (int other = 1; lane == 0 && other < LANES; ++other) sum += sums[other * CHUNK + e];
        __syncthreads();
    }
    if (Penalty::ANY) {
        const bool mine = lane == 0 && real_one && row[4];
        const real w = mine ? p[(long long)blockIdx.x * CHUNK + e] : 0;
        if (factors[blockIdx.x] != 0) sum += penalty.gradient(w);
        sums[threadIdx.x] = penalty.value(w);
        __syncthreads();
        if (threadIdx.x == 0) {
            real total = 0;
            for (int i = 0; i < CHUNK; ++i) total += sums[i];
            penalties[blockIdx.x] = total;
        }
    }
    return lane == 0 ? sum : 0;
}

// The gradient of all parameters in one array, and its sum of squares by chunks.
template <int LANES, class Penalty>
__device__ void gather_gradient(const long long* chunks, const double* factors, const real* parts,
                                const real* p, real* g, real* penalties, real* squares,
                                const Penalty penalty) {
    const real sum = gathered<LANES>(chunks, factors, parts, p, penalties, penalty);
    const long long i = (long long)blockIdx.x * CHUNK + threadIdx.x;
    if (threadIdx.x < CHUNK) g[i] = sum;
    if (squares) {
        const real total = block_sum<LANES * CHUNK>(threadIdx.x < CHUNK ? sum * sum : 0);
        if (threadIdx.x == 0) squares[blockIdx.x] = total;
    }
}

// The factor that makes a gradient no longer than `limit`, by a single block.
template <int THREADS>
__device__ void clip_factor(const real* squares, int chunks, real limit, real* factor) {
    real sum = 0;
    for (int i = threadIdx.x; i < chunks; i += THREADS) sum += squares[i];
    const real norm = sqrt(block_sum<THREADS>(sum));
    if (threadIdx.x == 0) *factor = limit / (norm > limit ? norm : limit);
}

// How optimizers move a parameter; the formulas are in xpnet/optim/. `rate` is the learning rate,
// `s0` and `s1` are what an optimizer keeps for each parameter.
struct SGD {
    __device__ void begin(double) {}
    __device__ real operator()(real p, real g, real*, real*, double rate, bool) const {
        return p - (real)rate * g;
    }
};
struct Momentum {
    real momentum;
    bool ahead;  // Nesterov's
    __device__ void begin(double) {}
    __device__ real operator()(real p, real g, real* v, real*, double rate, bool) const {
        *v = momentum * *v - (real)rate * g;
        return ahead ? p + (momentum * *v - (real)rate * g) : p + *v;
    }
};
struct AdaGrad {
    real decay, share, eps;  // h <- decay h + share g^2
    __device__ void begin(double) {}
    __device__ real operator()(real p, real g, real* h, real*, double rate, bool) const {
        *h = decay * *h + share * (g * g);
        return p - (real)rate * g / (sqrt(*h) + eps);
    }
};
struct Adam {
    double beta1, beta2, eps, weight_decay;
    bool paper;
    const double *power1, *power2;  // beta^t of the step before
    real step, epsilon;
    __device__ void begin(double rate) {
        const double root = sqrt(1 - *power2 * beta2);
        step = (real)(rate * root / (1 - *power1 * beta1));
        epsilon = (real)(paper ? eps * root : eps);
    }
    __device__ real operator()(real p, real g, real* m, real* v, double rate, bool weight) const {
        if (weight) p *= (real)(1 - rate * weight_decay);
        *m += (real)(1 - beta1) * (g - *m);
        *v += (real)(1 - beta2) * (g * g - *v);
        return p - step * *m / (sqrt(*v) + epsilon);
    }
};

template <class Rule>
__device__ void follow(const long long* chunks, const double* factors, real g, real* p, real* s0,
                       real* s1, const double* rates, const int* cursor, Rule rule) {
    const long long* row = chunks + (long long)blockIdx.x * COLUMNS;
    const double factor = factors[blockIdx.x];
    if (threadIdx.x >= row[3] || factor == 0) return;
    const long long i = (long long)blockIdx.x * CHUNK + threadIdx.x;
    const double rate = rates[*cursor] * factor;
    rule.begin(rate);
    p[i] = rule(p[i], g, s0 + i, s1 + i, rate, row[4] != 0);
}

// The update, straight from the parts of the gradient.
template <int LANES, class Penalty, class Rule>
__device__ void update_chunk(const long long* chunks, const double* factors, const real* parts,
                             real* p, real* penalties, real* s0, real* s1, const double* rates,
                             const int* cursor, const Penalty penalty, Rule rule) {
    const real g = gathered<LANES>(chunks, factors, parts, p, penalties, penalty);
    follow(chunks, factors, g, p, s0, s1, rates, cursor, rule);
}

// The update from a gradient that was found before, times a factor.
template <class Rule>
__device__ void update_clipped_chunk(const long long* chunks, const double* factors, const real* g,
                                     const real* clip, real* p, real* s0, real* s1,
                                     const double* rates, const int* cursor, Rule rule) {
    const real clipped = *clip * g[(long long)blockIdx.x * CHUNK + threadIdx.x];
    follow(chunks, factors, clipped, p, s0, s1, rates, cursor, rule);
}

// The mean losses of a batch, of each head as many as there is room for, and the penalty of the
// weights, by a single block; for its thread 0.
template <int THREADS, bool PENALTY>
__device__ real mean_loss(const real* losses, int heads, int room, int samples,
                          const real* penalties, int chunks) {
    real loss = 0;
    for (int head = 0; head < heads; ++head) {
        real sum = 0;
        for (int n = threadIdx.x; n < samples; n += THREADS) sum += losses[head * room + n];
        loss += block_sum<THREADS>(sum) / samples;
    }
    if (PENALTY) {
        real sum = 0;
        for (int i = threadIdx.x; i < chunks; i += THREADS) sum += penalties[i];
        loss += block_sum<THREADS>(sum);
    }
    return loss;
}
