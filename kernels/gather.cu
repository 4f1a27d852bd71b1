// The rows of a batch, side by side and in the type of the training, from the caller's own type.

template <class T> __device__ inline void convert(const T* x, int columns, REAL* y) {
  for (int j = blockIdx.x * WARP + threadIdx.x; j < columns; j += gridDim.x * WARP) y[j] = (REAL)x[j];
}

// y[r] = x[order[first + r]] for so many rows of the batch on its way.
//
// `kind` is a place in `job.ROW_KINDS`. Blocks are WARP x (THREADS / WARP), along columns and rows.
extern "C" __global__ void gather(
    const Slice* slice, const void* x, int kind, int columns, int first, int rows, REAL* y) {
  const int* order = rows_of(slice) + first;
  for (int r = blockIdx.y * blockDim.y + threadIdx.y; r < rows; r += gridDim.y * blockDim.y) {
    const long long from = (long long)order[r] * columns;
    REAL* to = y + (long long)r * columns;
    switch (kind) {
      case 0: convert((const float*)x + from, columns, to); break;
      case 1: convert((const double*)x + from, columns, to); break;
      case 2: convert((const unsigned char*)x + from, columns, to); break;
      case 3: convert((const signed char*)x + from, columns, to); break;
      case 4: convert((const unsigned short*)x + from, columns, to); break;
      case 5: convert((const short*)x + from, columns, to); break;
      case 6: convert((const unsigned*)x + from, columns, to); break;
      case 7: convert((const int*)x + from, columns, to); break;
      case 8: convert((const unsigned long long*)x + from, columns, to); break;
      default: convert((const long long*)x + from, columns, to);
    }
  }
}
