// Activations and their derivatives; the formulas are those of `nnaccel.activations`, and NaN stays NaN.
//
// A kernel knows an activation by its place in `job.ACTIVATIONS`, its `kind`, and by one number, `parameter`: the slope
// of leaky_relu, the alpha of elu.

enum { IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SELU, GELU, SILU, SOFTPLUS };

#define SELU_ALPHA REAL(1.6732632423543772)
#define SELU_SCALE REAL(1.0507009873554805)
// (1 + tanh(u)) / 2 = sigmoid(2 u): GELU is z * sigmoid(rate * z + cubic * z**3), with a rate of 2 sqrt(2 / pi).
#define GELU_RATE REAL(1.5957691216057308)
#define GELU_CUBIC REAL(0.07135481627260025)

// Neither exponential overflows, and small values keep their precision.
__device__ inline REAL sigmoid(REAL z) {
  const REAL e = exp(-fabs(z)), one = REAL(1);
  return z >= REAL(0) ? one / (one + e) : e / (one + e);
}

__device__ inline REAL softplus(REAL z) { return (z > REAL(0) ? z : REAL(0)) + log1p(exp(-fabs(z))); }

__device__ inline REAL activation(int kind, REAL parameter, REAL z) {
  const REAL zero = REAL(0);
  switch (kind) {
    case SIGMOID: return sigmoid(z);
    case TANH: return tanh(z);
    case RELU: return z < zero ? zero : z;
    case LEAKY_RELU: return z > zero ? z : parameter * z;
    case ELU: return z > zero ? z : parameter * expm1(z);
    case SELU: return SELU_SCALE * (z > zero ? z : SELU_ALPHA * expm1(z));
    case GELU: return z * sigmoid(z * (GELU_RATE + GELU_CUBIC * (z * z)));
    case SILU: return z * sigmoid(z);
    case SOFTPLUS: return softplus(z);
    default: return z;
  }
}

// From the output; for gelu and silu, from the input.
__device__ inline REAL derivative(int kind, REAL parameter, REAL saved) {
  const REAL zero = REAL(0), one = REAL(1);
  switch (kind) {
    case SIGMOID: return saved * (one - saved);
    case TANH: return one - saved * saved;
    case LEAKY_RELU: return saved > zero ? one : parameter;
    case ELU: return saved > zero ? one : saved + parameter;
    case SELU: return saved > zero ? SELU_SCALE : saved + SELU_SCALE * SELU_ALPHA;
    case GELU: {
      const REAL cubic = GELU_CUBIC * saved, s = sigmoid(saved * (GELU_RATE + cubic * saved));
      const REAL bend = s * (one - s) * saved;  // first, since it is 0 where the square of a large input overflows
      return s + (bend * GELU_RATE + bend * cubic * (REAL(3) * saved));
    }
    case SILU: {
      const REAL s = sigmoid(saved);
      return s * (one + saved * (one - s));
    }
    case SOFTPLUS: return -expm1(-saved);
    default: return one;
  }
}

// y = f(z + bias), and z = z + bias where there is a bias; y may be z itself, and bias may be missing.
//
// Blocks are WARP x (THREADS / WARP), along columns and rows.
extern "C" __global__ void activate(
    int kind, double parameter, REAL* z, const REAL* bias, REAL* y, int rows, int columns) {
  for (int r = blockIdx.y * blockDim.y + threadIdx.y; r < rows; r += gridDim.y * blockDim.y) {
    const long long start = (long long)r * columns;
    for (int j = blockIdx.x * WARP + threadIdx.x; j < columns; j += gridDim.x * WARP) {
      REAL sum = z[start + j];
      if (bias) z[start + j] = sum = sum + bias[j];
      y[start + j] = activation(kind, REAL(parameter), sum);
    }
  }
}

// The chain rule: delta = delta * f'(saved). A unit of relu that is off gives 0 whatever its delta is.
extern "C" __global__ void chain(int kind, double parameter, const REAL* saved, REAL* delta, long long n) {
  for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < n; i += (long long)gridDim.x * THREADS) {
    if (kind == RELU) delta[i] = saved[i] <= REAL(0) ? REAL(0) : delta[i];
    else delta[i] *= derivative(kind, REAL(parameter), saved[i]);
  }
}
