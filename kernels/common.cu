// What all kernels share: the type of numbers, what a call of `train` brings, and sums over a warp or a block.
//
// REAL is float or double. Nothing is included: NVRTC knows CUDA's functions without a header, and so one compiler is
// all that a machine needs. Every sum has one order, so that no bit depends on who is faster; there are no atomics.

#ifndef REAL
#define REAL float
#endif

#define THREADS 256        // of every block
#define WARP 32            // threads along a row, where a block is WARP x (THREADS / WARP)
#define ALL_LANES 0xffffffffu

// One upload: this record, and behind it all that it points to. Offsets count bytes from its first one.
struct Slice {
  int step;          // which batch is on its way forward and back
  int finished;      // which one has its sums, and waits for its update
  int dropping;      // how many layers drop
  int unused;
  long long bounds;  // int: where each batch begins in `order`
  long long order;   // int: row numbers
  long long numbers; // StepNumbers for each batch
  long long masks;   // MaskNumbers for each batch and each layer that drops
  long long log;     // three doubles for each batch: sum of losses, sum of weights, penalty
};

struct StepNumbers { double rate, momentum, decay, floor; };

struct MaskNumbers { unsigned key_0, key_1, threshold, unused; };

template <class T> __device__ inline T* behind(const Slice* slice, long long offset) {
  return (T*)((char*)slice + offset);
}

// The row numbers of the batch on its way.
__device__ inline const int* rows_of(const Slice* slice) {
  return behind<const int>(slice, slice->order) + behind<const int>(slice, slice->bounds)[slice->step];
}

// The three numbers in the log of the batch that waits for its update.
__device__ inline double* log_of(const Slice* slice) {
  return behind<double>(slice, slice->log) + 3 * (long long)slice->finished;
}

// The sum over the lanes of a warp, in all of them.
__device__ inline REAL warp_sum(REAL x) {
  for (int distance = WARP / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(ALL_LANES, x, distance);
  return x;
}

__device__ inline REAL warp_largest(REAL x) {
  for (int distance = WARP / 2; distance > 0; distance /= 2) {
    const REAL other = __shfl_xor_sync(ALL_LANES, x, distance);
    x = other > x ? other : x;
  }
  return x;
}

// The sum over THREADS threads in a row, in all of them; `room` is shared memory for as many numbers.
__device__ inline double block_sum(double x, double* room) {
  room[threadIdx.x] = x;
  __syncthreads();
  for (int half = THREADS / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) room[threadIdx.x] += room[threadIdx.x + half];
    __syncthreads();
  }
  const double total = room[0];
  __syncthreads();  // nobody may write to the room before all have read
  return total;
}
