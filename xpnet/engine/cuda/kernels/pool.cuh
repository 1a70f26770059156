// Pooling: x (N, C, H, W) to y (N, C, OH, OW), one thread for each number written.

template <int H_, int W_, int PH_, int PW_, int STRIDE_Y_, int STRIDE_X_, int TOP_, int LEFT_,
          int OH_, int OW_>
struct Pooling {
    static constexpr int H = H_, W = W_, PH = PH_, PW = PW_, STRIDE_Y = STRIDE_Y_,
                         STRIDE_X = STRIDE_X_, TOP = TOP_, LEFT = LEFT_, OH = OH_, OW = OW_;
};

// The largest number of a window, and the place of the first that is as large; what is beyond the
// image, in the pad or behind it, never wins.
template <class S>
__device__ int largest(const real* plane, int oy, int ox, real& value) {
    int place = -1;
    for (int fy = 0; fy < S::PH; ++fy)
        for (int fx = 0; fx < S::PW; ++fx) {
            const int iy = oy * S::STRIDE_Y + fy - S::TOP, ix = ox * S::STRIDE_X + fx - S::LEFT;
            if ((unsigned)iy >= S::H || (unsigned)ix >= S::W) continue;
            const real v = plane[iy * S::W + ix];
            if (place < 0 || v > value || (v != v && value == value)) {
                value = v;
                place = iy * S::W + ix;
            }
        }
    return place;
}

// Where an unpooling will ask for them, the PLACES of the maxima are left as well.
template <class S, bool PLACES, class Out>
__device__ void max_pool_forward(const real* x, int* places, real* y, int total, const Out out) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    const real* plane = x + i / (S::OH * S::OW) * (S::H * S::W);
    real value = 0;
    const int place = largest<S>(plane, i % (S::OH * S::OW) / S::OW, i % S::OW, value);
    if (PLACES) places[i] = place;
    y[i] = out.value(value, i);
}

template <class S, class Out>
__device__ void average_pool_forward(const real* x, real* y, int total, const Out out) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    const real* plane = x + i / (S::OH * S::OW) * (S::H * S::W);
    const int oy = i % (S::OH * S::OW) / S::OW, ox = i % S::OW;
    real sum = 0;
    for (int fy = 0; fy < S::PH; ++fy)
        for (int fx = 0; fx < S::PW; ++fx) {
            const int iy = oy * S::STRIDE_Y + fy - S::TOP, ix = ox * S::STRIDE_X + fx - S::LEFT;
            if ((unsigned)iy < S::H && (unsigned)ix < S::W) sum += plane[iy * S::W + ix];
        }
    y[i] = out.value(sum / (S::PH * S::PW), i);
}

// Every input pixel adds up what comes back from the windows that it lies in: no two threads write
// to one place, and the order is always the same.
template <class S, bool MAX, class Below>
__device__ void pool_backward(const real* x, const real* d, real* dx, int total,
                              const Below below) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    const int plane = i / (S::H * S::W), place = i % (S::H * S::W);
    const int y = place / S::W + S::TOP, z = place % S::W + S::LEFT;
    const int first_y = y < S::PH ? 0 : (y - S::PH) / S::STRIDE_Y + 1;
    const int first_x = z < S::PW ? 0 : (z - S::PW) / S::STRIDE_X + 1;
    real sum = 0;
    for (int oy = first_y; oy < S::OH && oy * S::STRIDE_Y <= y; ++oy)
        for (int ox = first_x; ox < S::OW && ox * S::STRIDE_X <= z; ++ox) {
            const real back = d[(plane * S::OH + oy) * S::OW + ox];
            real value = 0;
            if (!MAX)
                sum += back / (S::PH * S::PW);
            else if (largest<S>(x + plane * (S::H * S::W), oy, ox, value) == place)
                sum += back;
        }
    below.leave(dx, i, sum, x[i]);
}

// Values v (N, C, OH, OW) at the places of a pool's maxima, 0 elsewhere: y (N, C, H, W). Windows lie
// side by side, so that each pixel has but one window to ask, or none.
template <class S, class Out>
__device__ void unpool_forward(const real* v, const int* places, real* y, int total,
                               const Out out) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    const int plane = i / (S::H * S::W), place = i % (S::H * S::W);
    const int oy = place / S::W / S::STRIDE_Y, ox = place % S::W / S::STRIDE_X;
    const int o = (plane * S::OH + oy) * S::OW + ox;
    const bool inside = oy < S::OH && ox < S::OW;
    y[i] = out.value(inside && places[o] == place ? v[o] : 0, i);
}

template <class S, class Below>
__device__ void unpool_backward(const real* v, const int* places, const real* d, real* dv,
                                int total, const Below below) {
    const int o = blockIdx.x * blockDim.x + threadIdx.x;
    if (o >= total) return;
    below.leave(dv, o, d[o / (S::OH * S::OW) * (S::H * S::W) + places[o]], v[o]);
}
