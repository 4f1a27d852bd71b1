// Losses of rows with their gradients; the formulas are those of `nnaccel.losses`. A warp takes a row at a time.

enum {
  SUM_OF_SQUARES, MEAN_SQUARED_ERROR, HALF_SQUARED_ERROR, MEAN_ABSOLUTE_ERROR, HUBER, BINARY_CROSS_ENTROPY,
  SOFTMAX_CROSS_ENTROPY, POISSON
};

struct Loss {
  int kind;          // a place in `job.LOSSES`
  int unused;
  double parameter;  // the delta of huber, or the label smoothing
  double clip;       // cross-entropies are those of probabilities so far from 0 and 1, if it isn't 0
};

// The negative logarithm of a probability as that of one between eps and 1 - eps; NaN stays.
__device__ inline REAL clipped(REAL value, REAL eps) {
  const REAL most = -log(eps);
  value = value < eps ? eps : value;
  return value > most ? most : value;
}

__device__ inline REAL clipped_binary(REAL output, REAL target, REAL eps, REAL* slope) {
  const REAL probability = sigmoid(output), right = target > REAL(0) ? probability : REAL(1) - probability;
  *slope = probability - target;
  return *slope == *slope ? clipped(-log(right), eps) : *slope;  // a target of NaN must show
}

// The part of one output in the loss of its row, and its slope; `share` is 1 / outputs.
__device__ inline REAL loss_of(const Loss* loss, REAL output, REAL target, REAL share, REAL* slope) {
  const REAL error = output - target, parameter = REAL(loss->parameter), zero = REAL(0);
  switch (loss->kind) {
    case SUM_OF_SQUARES: *slope = error + error; return error * error;
    case MEAN_SQUARED_ERROR: *slope = (share + share) * error; return share * (error * error);
    case HALF_SQUARED_ERROR: *slope = error; return REAL(0.5) * (error * error);
    case MEAN_ABSOLUTE_ERROR:
      *slope = error > zero ? share : error < zero ? -share : zero * error;
      return share * fabs(error);
    case HUBER: {
      REAL bent = error > parameter ? parameter : error;
      bent = bent < -parameter ? -parameter : bent;
      *slope = share * bent;
      return share * (bent * (error - REAL(0.5) * bent));
    }
    case BINARY_CROSS_ENTROPY: {
      if (loss->clip > 0.0) return clipped_binary(output, target, REAL(loss->clip), slope);
      const REAL wanted = target + parameter * (REAL(0.5) - target);
      *slope = sigmoid(output) - wanted;
      return softplus(output) - output * wanted;
    }
    default: {
      const REAL rate = exp(output), log_target = log(target > zero ? target : REAL(1));
      *slope = rate - target;
      return rate - target + target * (log_target - output);
    }
  }
}

__device__ inline REAL row_of_values(
    const Loss* loss, const REAL* outputs, const REAL* targets, REAL weight, REAL* deltas, int count) {
  const REAL share = REAL(1) / REAL(count);
  REAL sum = REAL(0), slope;
  for (int j = threadIdx.x; j < count; j += WARP) {
    sum += loss_of(loss, outputs[j], targets[j], share, &slope);
    deltas[j] = weight * slope;
  }
  return warp_sum(sum);
}

__device__ inline REAL row_of_labels(
    const Loss* loss, const REAL* outputs, int label, REAL weight, REAL* deltas, int count) {
  const REAL smoothing = REAL(loss->parameter), rest = smoothing / REAL(count), first = outputs[0];
  REAL largest = first, total = REAL(0), wanted_sum = REAL(0);
  for (int j = threadIdx.x; j < count; j += WARP) largest = outputs[j] > largest ? outputs[j] : largest;
  largest = warp_largest(largest);
  for (int j = threadIdx.x; j < count; j += WARP) {
    const REAL shifted = outputs[j] - largest, wanted = rest + (j == label ? REAL(1) - smoothing : REAL(0));
    total += deltas[j] = exp(shifted);
    wanted_sum += wanted > 0 ? wanted * shifted : REAL(0);  // which may be infinite
  }
  total = warp_sum(total);
  wanted_sum = warp_sum(wanted_sum);
  for (int j = threadIdx.x; j < count; j += WARP) {
    const REAL wanted = rest + (j == label ? REAL(1) - smoothing : REAL(0));
    deltas[j] = weight * (deltas[j] / total - wanted);
  }
  const REAL value = log(total) - wanted_sum;
  return loss->clip > 0.0 ? clipped(value, REAL(loss->clip)) : value;
}

// The weighted losses of so many rows of the batch on its way, from its row `first` on, and their weighted gradients.
//
// Targets are labels, int, for softmax_cross_entropy, else REAL numbers; without weights, each row's is 1. Blocks are
// WARP x (THREADS / WARP), along outputs and rows.
extern "C" __global__ void losses_and_deltas(
    const Slice* slice, const Loss* loss, const void* targets, const REAL* weights, const REAL* outputs, REAL* deltas,
    double* row_losses, int first, int rows, int count) {
  const int* order = rows_of(slice) + first;
  for (int r = blockIdx.y * blockDim.y + threadIdx.y; r < rows; r += gridDim.y * blockDim.y) {
    const long long from = (long long)order[r] * count, start = (long long)r * count;
    const REAL weight = weights ? weights[order[r]] : REAL(1);
    REAL value;
    if (loss->kind == SOFTMAX_CROSS_ENTROPY)
      value = row_of_labels(loss, outputs + start, ((const int*)targets)[order[r]], weight, deltas + start, count);
    else
      value = row_of_values(loss, outputs + start, (const REAL*)targets + from, weight, deltas + start, count);
    if (threadIdx.x == 0) row_losses[first + r] = (double)weight * (double)value;
  }
}

// Log the sums of the losses and of the weights of the batch on its way, which then waits for its update. One block.
extern "C" __global__ void loss_sums(Slice* slice, const REAL* weights, const double* row_losses, int rows) {
  __shared__ double room[THREADS];
  const int* order = rows_of(slice);
  const int step = slice->step;
  double loss = 0.0, weight = 0.0;
  for (int r = threadIdx.x; r < rows; r += THREADS) {
    loss += row_losses[r];
    weight += weights ? (double)weights[order[r]] : 1.0;
  }
  loss = block_sum(loss, room);
  weight = block_sum(weight, room);
  if (threadIdx.x > 0) return;
  slice->finished = step;
  slice->step = step + 1;
  double* log = log_of(slice);
  log[0] = loss;
  log[1] = weight;
  log[2] = 0.0;
}
