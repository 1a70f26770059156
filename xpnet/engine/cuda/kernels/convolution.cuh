// Convolution: x (N, C, H, W), filters w (F, C, FH, FW), b (F), y (N, F, OH, OW).
//
// The columns of im2col are read out of the image where they are needed and never written. A sum
// over channels and places of the window runs over the channels of one place first where whole
// tiles fit that: all of a tile then have the same place, and only addresses are left to compute.

template <int C_, int H_, int W_, int F_, int FH_, int FW_, int STRIDE_, int PAD_, int OH_, int OW_>
struct Shape {
    static constexpr int C = C_, H = H_, W = W_, F = F_, FH = FH_, FW = FW_, STRIDE = STRIDE_,
                         PAD = PAD_, OH = OH_, OW = OW_, PLACES = FH * FW, DEPTH = C * PLACES;
};

// Number k0 + k of a sum over `channels` and PLACES.
template <int BK, int CHANNELS, int PLACES>
struct Term {
    int channel, place;
    __device__ Term(int k0, int k) {
        if (CHANNELS % BK == 0) {
            place = k0 / CHANNELS;
            channel = k0 % CHANNELS + k;
        } else {
            channel = (k0 + k) / PLACES;
            place = (k0 + k) % PLACES;
        }
    }
};

// Where the window of output pixel p of the batch begins; no image if p is outside.
struct Window {
    const real* image;
    int y, x;
};

template <class S>
__device__ Window window_of(const real* x, int p, int pixels) {
    const int n = p / (S::OH * S::OW), r = p % (S::OH * S::OW);
    return {p < pixels ? x + n * (S::C * S::H * S::W) : nullptr,
            r / S::OW * S::STRIDE - S::PAD, r % S::OW * S::STRIDE - S::PAD};
}

// What a window sees of a channel at one of its places; 0 in the pad.
template <class S>
__device__ real seen(const Window& window, int channel, int place) {
    const int y = window.y + place / S::FW, x = window.x + place % S::FW;
    if (S::PAD > 0 && ((unsigned)y >= S::H || (unsigned)x >= S::W)) return 0;
    return window.image[(channel * S::H + y) * S::W + x];
}

// y(f, p) = chain(sum over terms of w(f, term) seen(p, term) + b(f))
template <class S, class Out>
struct ConvolutionForward {
    static constexpr bool A_ALONG_K = true, B_ALONG_K = false, SHARED = true;
    const real *x, *w, *bias;
    real* y;
    int pixels;  // of the batch's output
    Out out;

    typedef int Row;
    typedef Window Column;
    __device__ Row row(int m) const { return m; }
    __device__ Column column(int p) const { return window_of<S>(x, p, pixels); }
    template <int BK>
    __device__ real a(int m, int k0, int k) const {
        if (m >= S::F || k0 + k >= S::DEPTH) return 0;
        const Term<BK, S::C, S::PLACES> term(k0, k);
        return w[(m * S::C + term.channel) * S::PLACES + term.place];
    }
    template <int BK>
    __device__ real b(int k0, int k, const Window& window) const {
        if (!window.image || k0 + k >= S::DEPTH) return 0;
        const Term<BK, S::C, S::PLACES> term(k0, k);
        return seen<S>(window, term.channel, term.place);
    }
    __device__ void store(int m, int p, real sum, int) const {
        const int i = (p / (S::OH * S::OW) * S::F + m) * (S::OH * S::OW) + p % (S::OH * S::OW);
        y[i] = out.value(sum + bias[m], i);
    }
};

// dx(c, q) = sum over filters and places of w(f, c, place) d(f, the output pixel that saw input
// pixel q at that place), times the slope of the layer below
template <class S, class Below>
struct ConvolutionBackward {
    static constexpr bool A_ALONG_K = false, B_ALONG_K = false, SHARED = true;
    const real *d, *w, *x;
    real* dx;
    int pixels;  // of the batch's input
    Below below;

    // An input pixel within the padded image, and the gradients of its image's outputs.
    struct Pixel {
        const real* d;
        int y, x;
    };
    typedef int Row;
    typedef Pixel Column;
    __device__ Row row(int m) const { return m; }
    __device__ Column column(int q) const {
        const int n = q / (S::H * S::W), r = q % (S::H * S::W);
        return {q < pixels ? d + n * (S::F * S::OH * S::OW) : nullptr, r / S::W + S::PAD,
                r % S::W + S::PAD};
    }
    template <int BK>
    __device__ real a(int m, int k0, int k) const {
        if (m >= S::C || k0 + k >= S::F * S::PLACES) return 0;
        const Term<BK, S::F, S::PLACES> term(k0, k);
        return w[(term.channel * S::C + m) * S::PLACES + term.place];
    }
    template <int BK>
    __device__ real b(int k0, int k, const Pixel& pixel) const {
        if (!pixel.d || k0 + k >= S::F * S::PLACES) return 0;
        const Term<BK, S::F, S::PLACES> term(k0, k);
        const int y = pixel.y - term.place / S::FW, x = pixel.x - term.place % S::FW;
        if (y < 0 || x < 0 || y % S::STRIDE || x % S::STRIDE) return 0;
        const int oy = y / S::STRIDE, ox = x / S::STRIDE;
        if (oy >= S::OH || ox >= S::OW) return 0;
        return pixel.d[(term.channel * S::OH + oy) * S::OW + ox];
    }
    __device__ void store(int m, int q, real sum, int) const {
        const int i = (q / (S::H * S::W) * S::C + m) * (S::H * S::W) + q % (S::H * S::W);
        dx[i] = sum * below.slope(x[i], i);
    }
};

// dw(f, term) = sum over output pixels of d(f, p) seen(p, term), and db as one more column: ones.
// Parts of the sum are kept apart: part, then w and b.
template <class S>
struct ConvolutionGradient {
    static constexpr bool A_ALONG_K = true, B_ALONG_K = true, SHARED = false;
    const real *x, *d;
    real* parts;
    int pixels;

    typedef int Row, Column;
    __device__ Row row(int m) const { return m; }
    __device__ Column column(int n) const { return n; }
    template <int BK>
    __device__ real a(int m, int k0, int k) const {
        const int p = k0 + k;
        if (m >= S::F || p >= pixels) return 0;
        return d[(p / (S::OH * S::OW) * S::F + m) * (S::OH * S::OW) + p % (S::OH * S::OW)];
    }
    template <int BK>
    __device__ real b(int k0, int k, int n) const {
        const int p = k0 + k;
        if (p >= pixels || n > S::DEPTH) return 0;
        if (n == S::DEPTH) return 1;
        return seen<S>(window_of<S>(x, p, pixels), n / S::PLACES, n % S::PLACES);
    }
    __device__ void store(int m, int n, real sum, int split) const {
        real* part = parts + (long long)split * S::F * (S::DEPTH + 1);
        part[n < S::DEPTH ? m * S::DEPTH + n : S::F * S::DEPTH + m] = sum;
    }
};
