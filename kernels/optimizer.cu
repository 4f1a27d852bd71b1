// What an optimizer does to all parameters, in one pass; the formulas are those of `nnaccel.optimizers`. Where
// parameter, gradient and slots are 0, as in padding, they stay 0 under every rule.

enum { SGD, MOMENTUM, NESTEROV, ADAM_RATE, ADAM_MOMENTS };

struct Rule {
  int kind;          // a place in `job.RULES`
  int divides;       // whether the gradient is divided by the sum of the weights
  int l2_by_row;     // whether the penalty is
  int decays;        // whether weights decay, as AdamW has it
  double beta_1, beta_2;
  double l2;         // strength of the penalty
  double clip_norm;  // the largest norm of a gradient; 0 for any
};

// What the sum of a batch is multiplied by to become the mean; without any weight there is no gradient.
__device__ inline double mean_factor(int divides, double weight) {
  return !divides ? 1.0 : weight != 0.0 ? 1.0 / weight : 0.0;
}

// gradient = factor * gradient + l2 * weights, and the sums of squares of weights and of gradients, two for each block.
extern "C" __global__ void penalise(
    const Slice* slice, const Rule* rule, const unsigned char* is_weight, const REAL* p, REAL* gradient, double* sums,
    long long n) {
  __shared__ double room[THREADS];
  const double weight = log_of(slice)[1];
  const REAL factor = REAL(mean_factor(rule->divides, weight));
  const REAL penalty = REAL(rule->l2 * mean_factor(rule->l2_by_row, weight));
  double of_weights = 0.0, of_gradients = 0.0;
  for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < n; i += (long long)gridDim.x * THREADS) {
    const REAL w = is_weight[i] ? p[i] : REAL(0), g = factor * gradient[i] + penalty * w;
    gradient[i] = g;
    of_weights += (double)w * (double)w;
    of_gradients += (double)g * (double)g;
  }
  of_weights = block_sum(of_weights, room);
  of_gradients = block_sum(of_gradients, room);
  if (threadIdx.x > 0) return;
  sums[2 * blockIdx.x] = of_weights;
  sums[2 * blockIdx.x + 1] = of_gradients;
}

// What the gradient is still to be multiplied by: to become a mean or, where `penalise` has done that in so many
// `parts`, to have no more than the largest norm. Logs the penalty.
__device__ inline REAL last_factor(const Slice* slice, const Rule* rule, const double* sums, int parts, double* room) {
  const double weight = log_of(slice)[1];
  if (parts == 0) return REAL(mean_factor(rule->divides, weight));
  const bool mine = threadIdx.x < parts;
  const double of_weights = block_sum(mine ? sums[2 * threadIdx.x] : 0.0, room);
  const double norm = sqrt(block_sum(mine ? sums[2 * threadIdx.x + 1] : 0.0, room));
  if (blockIdx.x == 0 && threadIdx.x == 0)
    log_of(slice)[2] = 0.5 * rule->l2 * mean_factor(rule->l2_by_row, weight) * of_weights;
  if (rule->clip_norm == 0.0 || norm <= rule->clip_norm) return REAL(1);
  return REAL(rule->clip_norm / norm);
}

// New parameters and slots. Slots that the rule doesn't have are never followed.
//
// `sums` are those that so many blocks of `penalise` left, at most THREADS; 0 if it didn't run.
extern "C" __global__ void update(
    const Slice* slice, const Rule* rule, const unsigned char* is_weight, REAL* p, REAL* slot_1, REAL* slot_2,
    const REAL* gradient, const double* sums, int parts, long long n) {
  __shared__ double room[THREADS];
  const StepNumbers step = behind<const StepNumbers>(slice, slice->numbers)[slice->finished];
  const REAL factor = last_factor(slice, rule, sums, parts, room);
  const REAL rate = REAL(step.rate), momentum = REAL(step.momentum), floor = REAL(step.floor);
  const REAL decay = REAL(rule->decays ? step.decay : 0.0);
  const REAL beta_1 = REAL(rule->beta_1), fresh_1 = REAL(1.0 - rule->beta_1);
  const REAL beta_2 = REAL(rule->beta_2), fresh_2 = REAL(1.0 - rule->beta_2);
  const int kind = rule->kind;
  for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < n; i += (long long)gridDim.x * THREADS) {
    const REAL g = factor * gradient[i], old = p[i];
    if (kind == SGD) {
      p[i] = old - rate * g;
    } else if (kind == MOMENTUM || kind == NESTEROV) {
      const REAL descent = rate * g, v = momentum * slot_1[i] - descent;
      slot_1[i] = v;
      p[i] = old + (kind == NESTEROV ? momentum * v - descent : v);
    } else {
      const REAL m = beta_1 * slot_1[i] + fresh_1 * g, v = beta_2 * slot_2[i] + fresh_2 * (g * g);
      slot_1[i] = m;
      slot_2[i] = v;
      const REAL decayed = is_weight[i] ? decay * old : REAL(0);
      p[i] = old - (decayed + rate * m / (sqrt(v) + floor));
    }
  }
}
