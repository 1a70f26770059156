// What the threads of a block do together.

// The sum of a number of each thread, for all of them.
template <int THREADS>
__device__ real block_sum(real value) {
    __shared__ real numbers[THREADS];
    __syncthreads();  // the numbers of a sum before this one have been read
    numbers[threadIdx.x] = value;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) numbers[threadIdx.x] += numbers[threadIdx.x + half];
        __syncthreads();
    }
    return numbers[0];
}
