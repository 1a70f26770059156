// A product of matrices, C(m, n) = sum over k of A(m, k) B(k, n), whose factors are whatever an Op
// reads and whose result is whatever it stores: a fully connected layer, or a convolution whose
// columns are never written down.
//
// A block computes a tile of BM x BN. It walks along k in steps of BK: while it multiplies one pair
// of tiles in shared memory, its threads fetch the numbers of the next. Where tiles are few, k is
// divided among `gridDim.z` blocks; all but the last to finish leave their sums in memory, and that
// one adds them up, always in the same order, so that results repeat bit for bit.
//
// An Op has
//   A_ALONG_K, B_ALONG_K: whether neighbours along k are neighbours in memory
//   row(m), column(n): what can be known of them before the walk
//   depth(k): what can be known of k, where both factors are ALONG_K and a thread sees one k of a tile
//   left<BK>(row, k0, depth), right<BK>(column, k0, depth): where the tile that begins at k0, a
//     multiple of BK, has its numbers of a row or column
//   a<BK>(left, k), b<BK>(right, k): the factor at k0 + k, or 0 outside
//   store(m, n, sum, split)
//   SHARED: whether a divided k is to be added up here; otherwise `store` keeps the parts by `split`
//   GROUPS: how many products of this size there are; the blocks of each are neighbours along y

// Numbers that follow each other along k at equal distances, so many of them.
struct Run {
    const real* first;
    int count;

    template <int STRIDE>
    __device__ real at(int k) const {
        return k < count ? first[k * STRIDE] : 0;
    }
};

struct Nothing {};

enum Math { FLOAT, TF32, BFLOAT16 };

template <int BM_, int BN_, int BK_, int TM_, int TN_, Math MATH_>
struct Tile {
    static constexpr int BM = BM_, BN = BN_, BK = BK_, TM = TM_, TN = TN_;
    static constexpr Math MATH = MATH_;
    static constexpr int THREADS = (BM / TM) * (BN / TN), COUNT = TM * TN;
    static_assert(BM % TM == 0 && BN % TN == 0 && THREADS % 32 == 0, "whole warps");
    static_assert((BM * BK) % THREADS == 0 && (BN * BK) % THREADS == 0, "equal loads");
    static_assert(MATH == FLOAT || (BM % 16 == 0 && BN % (THREADS / 4) == 0 && BK % 16 == 0),
                  "whole fragments");
};

// Factors in shared memory, and how a thread multiplies them: COUNT sums, of which `row` and
// `column` tell the places.
template <class T, Math MATH>
struct Multiply;

template <class T>
struct Multiply<T, FLOAT> {
    typedef real Operand;
    static constexpr int PAD = 4, COLUMNS = T::BN / T::TN;

    static __device__ Operand operand(real x) { return x; }
    // Among four neighbours numbers change places from one k to another, so that threads that put
    // down neighbours along k meet other banks.
    static constexpr __device__ int shuffled(int k) {
        return T::BK == 16 ? k / 8 % 2 * 2 : k / 8 % 4;
    }
    static __device__ int place(int k, int i, int width) {
        return k * (width + PAD) + (i ^ shuffled(k));
    }
    // Neighbouring threads have neighbouring columns, so that they store to neighbouring places.
    static __device__ int row(int e) { return threadIdx.x / COLUMNS * T::TM + e / T::TN; }
    static __device__ int column(int e) { return threadIdx.x % COLUMNS + e % T::TN * COLUMNS; }

    static __device__ void add(const Operand* a, const Operand* b, real (&sum)[T::COUNT]) {
        static_assert(T::TM % 4 == 0 && COLUMNS % 4 == 0, "whole neighbourhoods");
        const int first = threadIdx.x / COLUMNS * T::TM, own = threadIdx.x % COLUMNS;
#pragma unroll
        for (int k = 0; k < T::BK; ++k) {
            real x[T::TM], y[T::TN];
#pragma unroll
            for (int i = 0; i < T::TM; ++i)
                x[i] = a[k * (T::BM + PAD) + first + (i ^ shuffled(k))];
#pragma unroll
            for (int j = 0; j < T::TN; ++j)
                y[j] = b[k * (T::BN + PAD) + j * COLUMNS + (own ^ shuffled(k))];
#pragma unroll
            for (int i = 0; i < T::TM; ++i)
#pragma unroll
                for (int j = 0; j < T::TN; ++j) sum[i * T::TN + j] += x[i] * y[j];
        }
    }
};

// Tensor cores: each warp has all rows of its share of the columns, in fragments of 16 x 8. Lane
// 4 g + t has rows g and g + 8, and columns 2 t and 2 t + 1 (PTX ISA, mma.m16n8k8 and m16n8k16).
template <class T>
struct Fragments {
    static constexpr int PAD = 8;  // a warp's reads then meet each bank once
    static constexpr int WIDTH = T::BN / (T::THREADS / 32), ACROSS = WIDTH / 8, DOWN = T::BM / 16;

    static __device__ int group() { return threadIdx.x % 32 / 4; }
    static __device__ int lane() { return threadIdx.x % 4; }
    static __device__ int first_column() { return threadIdx.x / 32 * WIDTH; }
    static __device__ int row(int e) { return e / 4 / ACROSS * 16 + group() + e % 4 / 2 * 8; }
    static __device__ int column(int e) {
        return first_column() + e / 4 % ACROSS * 8 + 2 * lane() + e % 2;
    }

    // Words of shared memory hold one number (TF32) or two that follow each other along k.
    template <class Mma>
    static __device__ void add(const unsigned* a, const unsigned* b, int steps,
                               real (&sum)[T::COUNT], Mma mma) {
        const int g = group(), t = lane();
        for (int step = 0; step < steps; ++step) {
            const unsigned* left = a + (step * 8 + t) * (T::BM + PAD) + g;
            const unsigned* right = b + (step * 8 + t) * (T::BN + PAD) + first_column() + g;
            constexpr int A = 4 * (T::BM + PAD), B = 4 * (T::BN + PAD);
#pragma unroll
            for (int i = 0; i < DOWN; ++i) {
                const unsigned x[4] = {left[16 * i], left[16 * i + 8], left[A + 16 * i],
                                       left[A + 16 * i + 8]};
#pragma unroll
                for (int j = 0; j < ACROSS; ++j) {
                    const unsigned y[2] = {right[8 * j], right[B + 8 * j]};
                    mma(sum + 4 * (i * ACROSS + j), x, y);
                }
            }
        }
    }
};

template <class T>
struct Multiply<T, TF32> : Fragments<T> {
    typedef unsigned Operand;
    static __device__ Operand operand(real x) { return to_tf32(x); }
    static __device__ int place(int k, int i, int width) {
        return k * (width + Fragments<T>::PAD) + i;
    }
    static __device__ void add(const Operand* a, const Operand* b, real (&sum)[T::COUNT]) {
        Fragments<T>::add(a, b, T::BK / 8, sum,
                          [](float* c, const unsigned (&x)[4], const unsigned (&y)[2]) {
                              mma_tf32(c, x, y);
                          });
    }
};

template <class T>
struct Multiply<T, BFLOAT16> : Fragments<T> {
    typedef unsigned short Operand;
    static __device__ Operand operand(real x) { return to_bfloat16(x); }
    static __device__ int place(int k, int i, int width) {
        return (k / 2 * (width + Fragments<T>::PAD) + i) * 2 + k % 2;
    }
    static __device__ void add(const Operand* a, const Operand* b, real (&sum)[T::COUNT]) {
        Fragments<T>::add((const unsigned*)a, (const unsigned*)b, T::BK / 16, sum,
                          [](float* c, const unsigned (&x)[4], const unsigned (&y)[2]) {
                              mma_bfloat16(c, x, y);
                          });
    }
};

// Which numbers of a tile of WIDTH x BK a thread fetches: neighbouring threads fetch neighbours in
// memory. Number i has k(i) and at(i), and shares the latter with those of the same line(i).
template <int WIDTH, int BK, int THREADS, bool ALONG_K>
struct Loads {
    static constexpr int COUNT = WIDTH * BK / THREADS;
    static constexpr int LINES = ALONG_K ? COUNT : WIDTH > THREADS ? WIDTH / THREADS : 1;
    static_assert(ALONG_K ? THREADS % BK == 0 : WIDTH % THREADS == 0 || THREADS % WIDTH == 0,
                  "whole lines");

    static __device__ int line(int i) { return i % LINES; }
    static __device__ int k(int i) {
        if (ALONG_K) return threadIdx.x % BK;
        return THREADS > WIDTH ? threadIdx.x / WIDTH + i * (THREADS / WIDTH) : i / LINES;
    }
    static __device__ int at(int i) {
        if (ALONG_K) return threadIdx.x / BK + i * (THREADS / BK);
        return THREADS > WIDTH ? threadIdx.x % WIDTH : threadIdx.x + line(i) * THREADS;
    }
};

template <class T, class Op>
__device__ void product(const Op op, int m_total, int n_total, int k_total, real* parts,
                        int* tickets) {
    typedef Multiply<T, T::MATH> By;
    typedef Loads<T::BM, T::BK, T::THREADS, Op::A_ALONG_K> A;
    typedef Loads<T::BN, T::BK, T::THREADS, Op::B_ALONG_K> B;
    __shared__ __align__(16) typename By::Operand a[T::BK * (T::BM + By::PAD)];
    __shared__ __align__(16) typename By::Operand b[T::BK * (T::BN + By::PAD)];
    const int down = Op::GROUPS == 1 ? blockIdx.y : blockIdx.y % (gridDim.y / Op::GROUPS);
    const int thread = threadIdx.x, m0 = down * T::BM, n0 = blockIdx.x * T::BN;
    const int split = blockIdx.z, splits = gridDim.z;
    const int steps = (k_total + T::BK - 1) / T::BK;
    const int each = steps / splits, more = steps % splits;  // the first of them do one more
    const int first = split * each + (split < more ? split : more);
    const int last = first + each + (split < more);

    decltype(op.row(0)) rows[A::LINES];
    decltype(op.column(0)) columns[B::LINES];
#pragma unroll
    for (int i = 0; i < A::LINES; ++i) rows[i] = op.row(m0 + A::at(i));
#pragma unroll
    for (int i = 0; i < B::LINES; ++i) columns[i] = op.column(n0 + B::at(i));
    real next_a[A::COUNT], next_b[B::COUNT];
    auto fetch = [&](int k0) {
        const auto depth = op.depth(k0 + A::k(0));
        decltype(op.template left<T::BK>(rows[0], k0, depth)) left[A::LINES];
        decltype(op.template right<T::BK>(columns[0], k0, depth)) right[B::LINES];
#pragma unroll
        for (int i = 0; i < A::LINES; ++i) left[i] = op.template left<T::BK>(rows[i], k0, depth);
#pragma unroll
        for (int i = 0; i < B::LINES; ++i)
            right[i] = op.template right<T::BK>(columns[i], k0, depth);
#pragma unroll
        for (int i = 0; i < A::COUNT; ++i)
            next_a[i] = op.template a<T::BK>(left[A::line(i)], A::k(i));
#pragma unroll
        for (int i = 0; i < B::COUNT; ++i)
            next_b[i] = op.template b<T::BK>(right[B::line(i)], B::k(i));
    };

    real sum[T::COUNT];
#pragma unroll
    for (int e = 0; e < T::COUNT; ++e) sum[e] = 0;
    if (first < last) fetch(first * T::BK);
    for (int step = first; step < last; ++step) {
#pragma unroll
        for (int i = 0; i < A::COUNT; ++i)
            a[By::place(A::k(i), A::at(i), T::BM)] = By::operand(next_a[i]);
#pragma unroll
        for (int i = 0; i < B::COUNT; ++i)
            b[By::place(B::k(i), B::at(i), T::BN)] = By::operand(next_b[i]);
        __syncthreads();
        if (step + 1 < last) fetch((step + 1) * T::BK);
        By::add(a, b, sum);
        __syncthreads();
    }

    if (Op::SHARED && splits > 1) {
        const int tile = blockIdx.y * gridDim.x + blockIdx.x;
        // Volatile, since others of these numbers come from other multiprocessors.
        volatile real* own = parts + (long long)tile * splits * T::COUNT * T::THREADS + thread;
#pragma unroll
        for (int e = 0; e < T::COUNT; ++e) own[(split * T::COUNT + e) * T::THREADS] = sum[e];
        __threadfence();
        __shared__ bool finishes;
        __syncthreads();
        if (thread == 0) finishes = atomicAdd(tickets + tile, 1) == splits - 1;
        __syncthreads();
        if (!finishes) return;
        __threadfence();
        if (thread == 0) tickets[tile] = 0;  // for the next launch
#pragma unroll
        for (int e = 0; e < T::COUNT; ++e) sum[e] = 0;
        for (int s = 0; s < splits; ++s)
#pragma unroll
            for (int e = 0; e < T::COUNT; ++e) sum[e] += own[(s * T::COUNT + e) * T::THREADS];
    }
#pragma unroll
    for (int e = 0; e < T::COUNT; ++e) {
        const int m = m0 + By::row(e), n = n0 + By::column(e);
        if (m < m_total && n < n_total) op.store(m, n, sum[e], split);
    }
}
