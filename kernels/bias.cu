// The gradient of a bias, where no product brings it along.

#define BIAS_ROWS (THREADS / WARP)

// gradient[j] = the sum of deltas[r][j] over the rows; with `more`, that is added to what is there.
//
// Blocks are WARP x BIAS_ROWS; each has WARP columns, and each of its warps every BIAS_ROWS-th row.
extern "C" __global__ void bias_gradient(const REAL* deltas, int rows, int columns, int more, REAL* gradient) {
  __shared__ REAL room[BIAS_ROWS][WARP];
  const int j = blockIdx.x * WARP + threadIdx.x;
  REAL sum = REAL(0);
  if (j < columns)
    for (int r = threadIdx.y; r < rows; r += BIAS_ROWS) sum += deltas[(long long)r * columns + j];
  room[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || j >= columns) return;
  for (int y = 1; y < BIAS_ROWS; y++) sum += room[y][threadIdx.x];
  gradient[j] = more ? gradient[j] + sum : sum;
}
