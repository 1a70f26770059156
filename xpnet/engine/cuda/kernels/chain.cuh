// What follows a layer's sum before it is stored: an activation, then dropout.

enum Activation { IDENTITY, RELU, RELU6, LEAKY_RELU, SIGMOID, TANH, SCALED_TANH };

// Of LeCun's squashing function, HEIGHT tanh(STEEPNESS x).
constexpr real HEIGHT = 1.7159, STEEPNESS = 2. / 3;

// Word number `index` of step `step` of xpnet.arrays.random: Philox4x32-10.
__device__ inline unsigned random_word(long long index, long long step, unsigned k0, unsigned k1) {
    unsigned c0 = (unsigned)(index / 4), c1 = 0;
    unsigned c2 = (unsigned)step, c3 = (unsigned)(step >> 32);
    for (int round = 0; round < 10; ++round) {
        const unsigned long long p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
        c0 = (unsigned)(p1 >> 32) ^ c1 ^ k0;
        c1 = (unsigned)p1;
        c2 = (unsigned)(p0 >> 32) ^ c3 ^ k1;
        c3 = (unsigned)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    const int word = (int)(index % 4);
    return word == 0 ? c0 : word == 1 ? c1 : word == 2 ? c2 : c3;
}

// y = activation(z) mask scale for number `index` of a batch. The derivative is found from y, which
// is kept anyway, and the mask is drawn again.
template <Activation ACTIVATION, bool DROPS>
struct Chain {
    const long long* calls;  // training passes so far
    unsigned k0, k1;
    unsigned long long dropped;  // random words below it leave a unit out
    real scale;
    real leak;  // the slope of LEAKY_RELU below 0

    __device__ bool kept(long long index) const {
        return !DROPS || random_word(index, *calls, k0, k1) >= dropped;
    }

    __device__ real value(real z, long long index) const {
        // So that NaN stays NaN.
        if (ACTIVATION == RELU) z = z <= 0 ? 0 : z;
        if (ACTIVATION == RELU6) z = z <= 0 ? 0 : z >= 6 ? 6 : z;
        if (ACTIVATION == LEAKY_RELU) z = z > 0 ? z : z * leak;
        if (ACTIVATION == SIGMOID) z = 1 / (1 + exp(-z));
        if (ACTIVATION == TANH) z = tanh(z);
        if (ACTIVATION == SCALED_TANH) z = HEIGHT * tanh(STEEPNESS * z);
        return kept(index) ? z * scale : 0;
    }

    __device__ real slope(real y, long long index) const {
        if (ACTIVATION == RELU) return y > 0 ? scale : 0;  // what was left out is 0
        if (ACTIVATION == RELU6) return y > 0 && y < 6 * scale ? scale : 0;
        if (!kept(index)) return 0;
        if (ACTIVATION == LEAKY_RELU) return y > 0 ? scale : leak * scale;
        const real a = y / scale;
        if (ACTIVATION == SIGMOID) return a * (1 - a) * scale;
        if (ACTIVATION == TANH) return (1 - a * a) * scale;
        if (ACTIVATION == SCALED_TANH) return STEEPNESS * (HEIGHT - a * a / HEIGHT) * scale;
        return scale;
    }
};

// Where the gradient by what another layer has put out is left, for number `index`: y is that
// number, and CHAIN what came before it, or nothing where the other layer sees to that itself. ADD
// says that somebody else has left a gradient there.
template <class CHAIN, bool ADD>
struct Below {
    CHAIN chain;
    __device__ real left(const real* dx, int index, real gradient, real y) const {
        const real back = gradient * chain.slope(y, index);
        return ADD ? dx[index] + back : back;
    }
    __device__ void leave(real* dx, int index, real gradient, real y) const {
        dx[index] = left(dx, index, gradient, y);
    }
};
