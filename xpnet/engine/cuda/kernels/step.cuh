// What stands around a network's passes: the batch, the gradient of all parameters, their update,
// and what is counted.
//
// Parameters lie in chunks of 64, no two of them in one chunk. A warp has a chunk, two numbers a
// thread; where a gradient has many parts, the WARPS of a block share those of one chunk. A row of
// `chunks` says of a warp: its chunk, or -1 for none; where the first of its parts of the gradient
// begins, how far one is from the next, and how many it has; how many of the 64 are parameters,
// whether they are weights, and whether other warps share the chunk. `terms` has for each chunk what
// the learning rate is multiplied by, 0 where it does not learn, and between which numbers it stays.
// No gradient has parts where nothing learns, but penalties have a value all the same.

constexpr int CHUNK = 64, WARPS = 8, COLUMNS = 7, TERMS = 3, OWN = CHUNK / 32;

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

// What a warp has.
struct Warp {
    const long long* row;
    int chunk, number, first;  // its number among those of the block, and the thread's first place
    __device__ bool shares() const { return row[6] != 0; }
    __device__ bool finishes() const { return chunk >= 0 && (!shares() || number == 0); }
    __device__ int place(int j) const { return first + 32 * j; }
    __device__ bool has(int j) const { return place(j) < row[4]; }
    __device__ long long index(int j) const { return (long long)chunk * CHUNK + place(j); }
};
__device__ inline Warp own_warp(const long long* chunks) {
    const int number = threadIdx.x / 32;
    const long long* row = chunks + ((long long)blockIdx.x * WARPS + number) * COLUMNS;
    return {row, (int)row[0], number, (int)threadIdx.x % 32};
}

// The sum of a number of each thread of a warp, for its first.
__device__ inline real warp_sum(real value) {
    __shared__ real numbers[WARPS * 32];
    __syncthreads();  // the numbers of a sum before this one have been read
    numbers[threadIdx.x] = value;
    __syncthreads();
    for (int half = 16; half > 0; half /= 2) {
        if (threadIdx.x % 32 < half) numbers[threadIdx.x] += numbers[threadIdx.x + half];
        __syncthreads();
    }
    return numbers[threadIdx.x];
}

// The gradient of a thread's numbers w from its parts, penalty included, where the warp finishes.
// `penalties` gets the chunk's.
template <class Penalty>
__device__ void gathered(const Warp& warp, const double* terms, const real* parts,
                         const real (&w)[OWN], real* penalties, const Penalty penalty,
                         real (&sum)[OWN]) {
    const long long first = warp.row[1], distance = warp.row[2], count = warp.row[3];
    for (int j = 0; j < OWN; ++j) sum[j] = 0;
#pragma unroll 4
    for (int s = 0; s < count; ++s)
#pragma unroll
        for (int j = 0; j < OWN; ++j)
            if (warp.has(j)) sum[j] += parts[first + s * distance + warp.place(j)];
    if (warp.shares()) {  // so do all of the block
        __shared__ real sums[WARPS * CHUNK];
        for (int j = 0; j < OWN; ++j) sums[warp.number * CHUNK + warp.place(j)] = sum[j];
        __syncthreads();
        for (int other = 1; warp.number == 0 && other < WARPS; ++other)
            for (int j = 0; j < OWN; ++j) sum[j] += sums[other * CHUNK + warp.place(j)];
    }
    if (!Penalty::ANY) return;
    const bool mine = warp.finishes() && warp.row[5];
    const bool learns = mine && terms[(long long)warp.chunk * TERMS] != 0;
    real value = 0;
    for (int j = 0; j < OWN; ++j) {
        if (learns && warp.has(j)) sum[j] += penalty.gradient(w[j]);
        if (mine && warp.has(j)) value += penalty.value(w[j]);
    }
    const real total = warp_sum(value);
    if (warp.finishes() && warp.first == 0) penalties[warp.chunk] = total;
}

// A thread's numbers of an array, 0 where it has none.
__device__ inline void fetch(const Warp& warp, const real* from, real (&to)[OWN]) {
    for (int j = 0; j < OWN; ++j)
        to[j] = from && warp.finishes() && warp.has(j) ? from[warp.index(j)] : 0;
}

// The gradient of all parameters in one array, and its sum of squares by chunks.
template <class Penalty>
__device__ void gather_gradient(const long long* chunks, const double* terms, const real* parts,
                                const real* p, real* g, real* penalties, real* squares,
                                const Penalty penalty) {
    const Warp warp = own_warp(chunks);
    real w[OWN], sum[OWN], total = 0;
    fetch(warp, p, w);
    gathered(warp, terms, parts, w, penalties, penalty, sum);
    for (int j = 0; j < OWN; ++j) {
        if (!warp.finishes()) sum[j] = 0;
        if (warp.finishes()) g[warp.index(j)] = sum[j];
        total += sum[j] * sum[j];
    }
    if (!squares) return;
    total = warp_sum(total);
    if (warp.finishes() && warp.first == 0) squares[warp.chunk] = total;
}

// The factor that makes a gradient no longer than `limit`, by a single block.
template <int THREADS>
__device__ void clip_factor(const real* squares, int chunks, real limit, real* factor) {
    real sum = 0;
    for (int i = threadIdx.x; i < chunks; i += THREADS) sum += squares[i];
    const real norm = sqrt(block_sum<THREADS>(sum));
    if (threadIdx.x == 0) *factor = limit / (norm > limit ? norm : limit);
}

// How optimizers move a parameter; the formulas are in xpnet/optim/. `rate` is the learning rate;
// the two numbers behind the gradient are what an optimizer KEEPS for each parameter, or fewer.
struct SGD {
    static constexpr int KEEPS = 0;
    __device__ void begin(double) {}
    __device__ real operator()(real p, real g, real&, real&, double rate, bool) const {
        return p - (real)rate * g;
    }
};
struct Momentum {
    static constexpr int KEEPS = 1;
    real momentum;
    bool ahead;  // Nesterov's
    __device__ void begin(double) {}
    __device__ real operator()(real p, real g, real& v, real&, double rate, bool) const {
        v = momentum * v - (real)rate * g;
        return ahead ? p + (momentum * v - (real)rate * g) : p + v;
    }
};
struct AdaGrad {
    static constexpr int KEEPS = 1;
    real decay, share, eps;  // h <- decay h + share g^2
    __device__ void begin(double) {}
    __device__ real operator()(real p, real g, real& h, real&, double rate, bool) const {
        h = decay * h + share * (g * g);
        return p - (real)rate * g / (sqrt(h) + eps);
    }
};
struct Adam {
    static constexpr int KEEPS = 2;
    double beta1, beta2, eps, weight_decay;
    bool paper;
    const double *power1, *power2;  // beta^t of the step before
    real step, epsilon;
    __device__ void begin(double rate) {
        const double root = sqrt(1 - *power2 * beta2);
        step = (real)(rate * root / (1 - *power1 * beta1));
        epsilon = (real)(paper ? eps * root : eps);
    }
    __device__ real operator()(real p, real g, real& m, real& v, double rate, bool weight) const {
        if (weight) p *= (real)(1 - rate * weight_decay);
        m += (real)(1 - beta1) * (g - m);
        v += (real)(1 - beta2) * (g * g - v);
        return p - step * m / (sqrt(v) + epsilon);
    }
};

// A thread's parameters, and what is kept of them: fetched before their gradient is waited for.
template <class Rule>
struct Parameters {
    real *p, *s0, *s1;
    real now[OWN], kept0[OWN], kept1[OWN];

    __device__ Parameters(const Warp& warp, real* p, real* s0, real* s1) : p(p), s0(s0), s1(s1) {
        fetch(warp, p, now);
        fetch(warp, Rule::KEEPS > 0 ? s0 : nullptr, kept0);
        fetch(warp, Rule::KEEPS > 1 ? s1 : nullptr, kept1);
    }

    // NaN stays NaN between bounds, too.
    __device__ void follow(const Warp& warp, const double* terms, const real (&g)[OWN],
                           const double* rates, const int* cursor, Rule rule) {
        if (!warp.finishes()) return;
        const double* own = terms + (long long)warp.chunk * TERMS;
        const real low = (real)own[1], high = (real)own[2];
        const double rate = rates[*cursor] * own[0];
        if (own[0] == 0) return;
        rule.begin(rate);
        for (int j = 0; j < OWN; ++j) {
            if (!warp.has(j)) continue;
            const long long i = warp.index(j);
            const real then = rule(now[j], g[j], kept0[j], kept1[j], rate, warp.row[5] != 0);
            p[i] = then < low ? low : then > high ? high : then;
            if (Rule::KEEPS > 0) s0[i] = kept0[j];
            if (Rule::KEEPS > 1) s1[i] = kept1[j];
        }
    }
};

// The update, straight from the parts of the gradient.
template <class Penalty, class Rule>
__device__ void update_chunk(const long long* chunks, const double* terms, const real* parts,
                             real* p, real* penalties, real* s0, real* s1, const double* rates,
                             const int* cursor, const Penalty penalty, Rule rule) {
    const Warp warp = own_warp(chunks);
    Parameters<Rule> parameters(warp, p, s0, s1);
    real g[OWN];
    gathered(warp, terms, parts, parameters.now, penalties, penalty, g);
    parameters.follow(warp, terms, g, rates, cursor, rule);
}

// The update from a gradient that was found before, times a factor.
template <class Rule>
__device__ void update_clipped_chunk(const long long* chunks, const double* terms, const real* g,
                                     const real* clip, real* p, real* s0, real* s1,
                                     const double* rates, const int* cursor, Rule rule) {
    const Warp warp = own_warp(chunks);
    Parameters<Rule> parameters(warp, p, s0, s1);
    real clipped[OWN];
    fetch(warp, g, clipped);
    for (int j = 0; j < OWN; ++j) clipped[j] *= *clip;
    parameters.follow(warp, terms, clipped, rates, cursor, rule);
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
