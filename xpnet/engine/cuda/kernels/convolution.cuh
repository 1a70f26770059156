// Convolution: x (N, CHANNELS, H, W), filters w (FILTERS, C, FH, FW), b (FILTERS) if there is a
// BIAS, y (N, FILTERS, OH, OW). Each of the GROUPS takes C channels to F filters, by products of
// its own.
//
// The columns of im2col are read out of the image where they are needed and never written. A sum
// over channels and places of the window runs over the channels of one place first where whole
// tiles fit that: where a tile's numbers are is then found once for all of them.

template <int GROUPS_, int C_, int H_, int W_, int F_, int FH_, int FW_, int STRIDE_Y_,
          int STRIDE_X_, int TOP_, int LEFT_, int OH_, int OW_, bool BIAS_>
struct Shape {
    static constexpr int GROUPS = GROUPS_, C = C_, H = H_, W = W_, F = F_, FH = FH_, FW = FW_,
                         STRIDE_Y = STRIDE_Y_, STRIDE_X = STRIDE_X_, TOP = TOP_, LEFT = LEFT_,
                         OH = OH_, OW = OW_, CHANNELS = GROUPS * C, FILTERS = GROUPS * F,
                         PLACES = FH * FW, DEPTH = C * PLACES, PLANE = H * W, OUT = OH * OW;
    // Whether any window reaches beyond the image, at whatever side.
    static constexpr bool PADDED = TOP > 0 || LEFT > 0 || (OH - 1) * STRIDE_Y - TOP + FH > H ||
                                   (OW - 1) * STRIDE_X - LEFT + FW > W;
    static constexpr bool BIAS = BIAS_;

    // Numbers among all of the block's group: its blocks are neighbours along y.
    static __device__ int group() { return GROUPS == 1 ? 0 : blockIdx.y / (gridDim.y / GROUPS); }
    static __device__ int channel(int c) { return group() * C + c; }
    static __device__ int filter(int f) { return group() * F + f; }
};

// Where the window of output pixel p of the batch begins, in the channels of the block's group; no
// image if p is outside.
struct Window {
    const real* image;
    int y, x;
};

template <class S>
__device__ Window window_of(const real* x, int p, int pixels) {
    const int n = p / S::OUT, r = p % S::OUT;
    const int first = (n * S::CHANNELS + S::channel(0)) * S::PLANE;
    return {p < pixels ? x + first : nullptr, r / S::OW * S::STRIDE_Y - S::TOP,
            r % S::OW * S::STRIDE_X - S::LEFT};
}

// Where a window sees a channel at place (fy, fx); nullptr in the pad, and without an image.
template <class S>
__device__ const real* seen(const Window& window, int channel, int fy, int fx) {
    const int y = window.y + fy, x = window.x + fx;
    const bool inside = !S::PADDED || ((unsigned)y < S::H && (unsigned)x < S::W);
    return window.image && inside ? window.image + channel * S::PLANE + y * S::W + x : nullptr;
}

// The output pixels that saw an input pixel: where their gradients are, and where in the padded
// image the pixel is.
struct Pixel {
    const real* d;
    int y, x;
};

// The gradient that place (fy, fx) of a window over the pixel brings back; nullptr without one.
template <class S>
__device__ const real* returned(const Pixel& pixel, int filter, int fy, int fx) {
    const int y = pixel.y - fy, x = pixel.x - fx, oy = y / S::STRIDE_Y, ox = x / S::STRIDE_X;
    const bool any = y >= 0 && x >= 0 && y % S::STRIDE_Y == 0 && x % S::STRIDE_X == 0 &&
                     oy < S::OH && ox < S::OW;
    return pixel.d && any ? pixel.d + filter * S::OUT + oy * S::OW + ox : nullptr;
}

// A tile's part of a sum over CHANNELS and PLACES, beginning at k0.
template <int BK, int CHANNELS, int PLACES>
struct Terms {
    static constexpr bool ONE_PLACE = CHANNELS % BK == 0, ONE_TILE = CHANNELS * PLACES <= BK;
    int k0;
    // Known to the compiler where there is but one tile.
    __device__ int number(int k) const { return ONE_TILE ? k : k0 + k; }
    __device__ int channel(int k) const {
        return ONE_PLACE ? k0 % CHANNELS + k : number(k) / PLACES;
    }
    __device__ int place(int k) const { return ONE_PLACE ? k0 / CHANNELS : number(k) % PLACES; }
    __device__ bool has(int k) const { return ONE_PLACE || number(k) < CHANNELS * PLACES; }
};

// A tile's numbers of one column: of ONE_PLACE, they begin at `first` and are a channel apart.
template <class From, class Terms>
struct Column {
    From from;
    const real* first;
    Terms terms;
};

// y(f, p) = chain(sum over terms of w(f, term) seen(p, term) + b(f))
template <class S, class Out>
struct ConvolutionForward {
    static constexpr bool A_ALONG_K = true, B_ALONG_K = false, SHARED = true;
    static constexpr int GROUPS = S::GROUPS;
    const real *x, *w, *bias;
    real* y;
    int pixels;  // of the batch's output
    Out out;

    template <int BK>
    using In = Terms<BK, S::C, S::PLACES>;

    __device__ int row(int m) const { return m; }
    __device__ Window column(int p) const { return window_of<S>(x, p, pixels); }
    __device__ Nothing depth(int) const { return {}; }
    template <int BK>
    __device__ Run left(int m, int k0, Nothing) const {
        const In<BK> in{k0};
        const int first = in.ONE_PLACE ? in.channel(0) * S::PLACES + in.place(0) : k0;
        return {w + S::filter(m) * S::DEPTH + first,
                m >= S::F ? 0 : in.ONE_PLACE ? BK : S::DEPTH - k0};
    }
    template <int BK>
    __device__ Column<Window, In<BK>> right(const Window& window, int k0, Nothing) const {
        const In<BK> in{k0};
        const int place = in.place(0);
        const real* first = nullptr;
        if (in.ONE_PLACE)
            first = seen<S>(window, in.channel(0), place / S::FW, place % S::FW);
        return {window, first, in};
    }
    template <int BK>
    __device__ real a(const Run& run, int k) const {
        return run.at<In<BK>::ONE_PLACE ? S::PLACES : 1>(k);
    }
    template <int BK>
    __device__ real b(const Column<Window, In<BK>>& column, int k) const {
        const In<BK>& in = column.terms;
        if (in.ONE_PLACE) return column.first ? column.first[k * S::PLANE] : 0;
        const int place = in.place(k);
        const real* at = seen<S>(column.from, in.channel(k), place / S::FW, place % S::FW);
        return at && in.has(k) ? *at : 0;
    }
    __device__ void store(int m, int p, real sum, int) const {
        const int filter = S::filter(m);
        const int i = (p / S::OUT * S::FILTERS + filter) * S::OUT + p % S::OUT;
        y[i] = out.value(S::BIAS ? sum + bias[filter] : sum, i);
    }
};

// dx(c, q) = sum over filters and places of w(f, c, place) d(f, the output pixel that saw input
// pixel q at that place), times the slope of the layer below
template <class S, class Below>
struct ConvolutionBackward {
    static constexpr bool A_ALONG_K = false, B_ALONG_K = false, SHARED = true;
    static constexpr int GROUPS = S::GROUPS;
    const real *d, *w, *x;
    real* dx;
    int pixels;  // of the batch's input
    Below below;

    template <int BK>
    using Of = Terms<BK, S::F, S::PLACES>;
    template <int BK>
    struct Row {
        int channel;
        Of<BK> terms;
    };

    __device__ int row(int m) const { return m; }
    __device__ Pixel column(int q) const {
        const int n = q / S::PLANE, r = q % S::PLANE;
        const int first = (n * S::FILTERS + S::filter(0)) * S::OUT;
        return {q < pixels ? d + first : nullptr, r / S::W + S::TOP, r % S::W + S::LEFT};
    }
    __device__ Nothing depth(int) const { return {}; }
    template <int BK>
    __device__ Row<BK> left(int m, int k0, Nothing) const {
        return {m, {k0}};
    }
    template <int BK>
    __device__ Column<Pixel, Of<BK>> right(const Pixel& pixel, int k0, Nothing) const {
        const Of<BK> of{k0};
        const int place = of.place(0);
        const real* first = nullptr;
        if (of.ONE_PLACE)
            first = returned<S>(pixel, of.channel(0), place / S::FW, place % S::FW);
        return {pixel, first, of};
    }
    template <int BK>
    __device__ real a(const Row<BK>& row, int k) const {
        if (row.channel >= S::C || !row.terms.has(k)) return 0;
        const int filter = S::filter(row.terms.channel(k));
        return w[(filter * S::C + row.channel) * S::PLACES + row.terms.place(k)];
    }
    template <int BK>
    __device__ real b(const Column<Pixel, Of<BK>>& column, int k) const {
        const Of<BK>& of = column.terms;
        if (of.ONE_PLACE) return column.first ? column.first[k * S::OUT] : 0;
        const int place = of.place(k);
        const real* at = returned<S>(column.from, of.channel(k), place / S::FW, place % S::FW);
        return at && of.has(k) ? *at : 0;
    }
    __device__ void store(int m, int q, real sum, int) const {
        const int i = (q / S::PLANE * S::CHANNELS + S::channel(m)) * S::PLANE + q % S::PLANE;
        below.leave(dx, i, sum, x[i]);
    }
};

// Which channels a filter reads: all of them, or those of a table, a bit for each, 64 to a word.
struct Full {
    static __device__ bool has(int, int) { return true; }
};
template <int C, unsigned long long... WORDS>
struct Table {
    static __device__ bool has(int filter, int channel) {
        constexpr unsigned long long words[] = {WORDS...};
        return words[filter * ((C + 63) / 64) + channel / 64] >> channel % 64 & 1;
    }
};

// dw(f, term) = sum over output pixels of d(f, p) seen(p, term), 0 where f does not read the
// channel, and db as one more column: ones. Parts of the sum are kept apart: part, then w and b, and
// room for so many numbers that another kernel leaves BEHIND them.
template <class S, class Reads = Full, int BEHIND = 0>
struct ConvolutionGradient {
    static constexpr bool A_ALONG_K = true, B_ALONG_K = true, SHARED = false;
    static constexpr int GROUPS = S::GROUPS;
    const real *x, *d;
    real* parts;
    int pixels;

    // A term of the window: how far it is from the window's beginning, and its place there. Behind
    // the last one there are ones, if there is a bias, and then what nobody asks for.
    struct Place {
        int far, fy, fx;
    };
    static constexpr int NOWHERE = 1 << 20;  // beyond any image
    // An output pixel: where its window begins, and the gradients by it.
    struct Depth {
        const real *image, *d;
        int y, x;
        bool any;
    };
    struct Seen {
        const real* at;
        bool inside;
        real otherwise;
    };

    __device__ int row(int m) const { return m; }
    __device__ Place column(int n) const {
        const int place = n % S::PLACES, fy = place / S::FW, fx = place % S::FW;
        if (n >= S::DEPTH) return {0, NOWHERE, 0};
        return {n / S::PLACES * S::PLANE + fy * S::W + fx, fy, fx};
    }
    __device__ Depth depth(int p) const {
        const Window window = window_of<S>(x, p, pixels);
        const bool any = window.image;
        const int gradient = (p / S::OUT * S::FILTERS + S::filter(0)) * S::OUT + p % S::OUT;
        return {any ? window.image + window.y * S::W + window.x : x, d + (any ? gradient : 0),
                any ? window.y : -2 * NOWHERE, window.x, any};
    }
    template <int BK>
    __device__ Seen left(int m, int, const Depth& depth) const {
        return {depth.d + m * S::OUT, depth.any && m < S::F, 0};
    }
    // No gradient is multiplied by what a column of ones has where there is no pixel.
    template <int BK>
    __device__ Seen right(const Place& place, int, const Depth& depth) const {
        const bool inside = S::PADDED ? (unsigned)(depth.y + place.fy) < S::H &&
                                            (unsigned)(depth.x + place.fx) < S::W
                                      : depth.any && place.fy != NOWHERE;
        return {depth.image + place.far, inside, real(S::BIAS && place.fy == NOWHERE)};
    }
    template <int BK>
    __device__ real a(const Seen& seen, int) const {
        return seen.inside ? *seen.at : 0;
    }
    template <int BK>
    __device__ real b(const Seen& seen, int) const {
        return seen.inside ? *seen.at : seen.otherwise;
    }
    __device__ void store(int m, int n, real sum, int split) const {
        real* part = parts + (long long)split * (S::FILTERS * (S::DEPTH + S::BIAS) + BEHIND);
        const int filter = S::filter(m);
        const bool is_weight = n < S::DEPTH;
        part[is_weight ? filter * S::DEPTH + n : S::FILTERS * S::DEPTH + filter] =
            !is_weight || Reads::has(filter, n / S::PLACES) ? sum : 0;
    }
};
