"""Twins of nnaccel's formulas, in plain Python, one number at a time, that a reader trusts at sight.

They import nothing of nnaccel: what is compared with them shares no line with them. Settings have the names that the
descriptions give them.
"""

import math
from decimal import Decimal, localcontext

# --- activations: one number in, one out ---


def identity(z):
    return z


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def relu(z):
    return z if z > 0 else 0.0


def leaky_relu(z, slope):
    return z if z > 0 else slope * z


def elu(z, alpha):
    return z if z > 0 else alpha * (math.exp(z) - 1)


def selu(z):
    return 1.0507009873554805 * elu(z, 1.6732632423543772)


def gelu(z):
    return z / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def silu(z):
    return z * sigmoid(z)


def softplus(z):
    return math.log(1 + math.exp(z))


ACTIVATIONS = {
    "identity": identity, "sigmoid": sigmoid, "tanh": math.tanh, "relu": relu, "leaky_relu": leaky_relu, "elu": elu,
    "selu": selu, "gelu": gelu, "silu": silu, "softplus": softplus,
}  # fmt: skip


def exact_sigmoid(z):
    """sigmoid to 40 digits, rounded once."""
    with localcontext() as context:
        context.prec = 40
        return float(1 / (1 + (-Decimal(z)).exp()))


def exact_softplus(z):
    """softplus to 40 significant digits, rounded once."""
    with localcontext() as context:
        # 1 + exp(z) must keep 40 digits of a small exp(z): one decimal digit more for every 2.3 that z is below zero.
        context.prec = 40 + max(0, math.ceil(-z))
        return float((1 + Decimal(z).exp()).ln())


# --- losses: a row of outputs and its target in, one number out ---


def sum_of_squares(outputs, targets):
    return sum((o - y) ** 2 for o, y in zip(outputs, targets, strict=True))


def mean_squared_error(outputs, targets):
    return sum_of_squares(outputs, targets) / len(outputs)


def half_squared_error(outputs, targets):
    return sum_of_squares(outputs, targets) / 2


def mean_absolute_error(outputs, targets):
    return sum(abs(o - y) for o, y in zip(outputs, targets, strict=True)) / len(outputs)


def huber(outputs, targets, delta):
    total = 0.0
    for o, y in zip(outputs, targets, strict=True):
        e = abs(o - y)
        total += e**2 / 2 if e <= delta else delta * (e - delta / 2)
    return total / len(outputs)


def clipped(p, clip):
    return min(max(p, 2.0**-52), 1 - 2.0**-52) if clip else p


def binary_cross_entropy(outputs, targets, label_smoothing, clip):
    total = 0.0
    for o, y in zip(outputs, targets, strict=True):
        wanted = (1 - label_smoothing) * y + label_smoothing * 0.5
        p = clipped(sigmoid(o), clip)
        total -= wanted * math.log(p) + (1 - wanted) * math.log(1 - p)
    return total


def softmax_cross_entropy(outputs, label, label_smoothing, clip):
    classes = len(outputs)
    total = sum(math.exp(o) for o in outputs)
    loss = 0.0
    for c in range(classes):
        wanted = label_smoothing / classes + (1 - label_smoothing if c == label else 0)
        loss -= wanted * math.log(clipped(math.exp(outputs[c]) / total, clip))
    return loss


def poisson(outputs, targets):
    total = 0.0
    for o, y in zip(outputs, targets, strict=True):
        rate = math.exp(o)
        total += rate - y + (y * math.log(y / rate) if y > 0 else 0)
    return total


LOSSES = {
    function.__name__: function
    for function in (
        sum_of_squares, mean_squared_error, half_squared_error, mean_absolute_error, huber,
        binary_cross_entropy, softmax_cross_entropy, poisson,
    )
}  # fmt: skip


# --- optimizers: a rule for one parameter p with gradient g, which keeps its own memory ---


class SGD:
    def __init__(self, momentum, nesterov):
        self.momentum, self.nesterov, self.v = momentum, nesterov, 0.0

    def new(self, p, g, learning_rate, is_weight):
        self.v = self.momentum * self.v - learning_rate * g
        if self.nesterov:
            return p + self.momentum * self.v - learning_rate * g
        return p + self.v


class Adam:
    def __init__(self, beta_1, beta_2, epsilon, correction):
        self.beta_1, self.beta_2, self.epsilon, self.correction = beta_1, beta_2, epsilon, correction
        self.m, self.v, self.t = 0.0, 0.0, 0

    def new(self, p, g, learning_rate, is_weight):
        self.t += 1
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * g
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * g**2
        if self.correction == "rate":
            rate = learning_rate * math.sqrt(1 - self.beta_2**self.t) / (1 - self.beta_1**self.t)
            return p - rate * self.m / (math.sqrt(self.v) + self.epsilon)
        m_hat = self.m / (1 - self.beta_1**self.t)
        v_hat = self.v / (1 - self.beta_2**self.t)
        return p - learning_rate * m_hat / (math.sqrt(v_hat) + self.epsilon)


class AdamW(Adam):
    def __init__(self, weight_decay, **settings):
        super().__init__(**settings)
        self.weight_decay = weight_decay

    def new(self, p, g, learning_rate, is_weight):
        if is_weight:
            p = p - learning_rate * self.weight_decay * p
        return super().new(p, g, learning_rate, is_weight)


OPTIMIZERS = {"sgd": SGD, "adam": Adam, "adamw": AdamW}


# --- schedules: the factor at one step, counted from 0 ---


def constant(step, epochs, steps_per_epoch, rows):
    return 1.0


def inverse_scaling(step, epochs, steps_per_epoch, rows, power):
    rows_seen = (step // steps_per_epoch) * rows
    return 1 / (1 + rows_seen) ** power


def step_decay(step, epochs, steps_per_epoch, rows, every, factor):
    value = 1.0
    for epoch in range(1, step // steps_per_epoch + 1):
        if epoch % every == 0:
            value *= factor
    return value


def cosine(step, epochs, steps_per_epoch, rows, final):
    return final + (1 - final) * (1 + math.cos(math.pi * step / (epochs * steps_per_epoch))) / 2


def one_cycle(step, epochs, steps_per_epoch, rows, start, peak, final):
    last = epochs * steps_per_epoch - 1
    time = step / last if last else 0.0
    if time < peak:
        return start + (1 - start) * (1 - math.cos(math.pi * time / peak)) / 2
    return final + (1 - final) * (1 + math.cos(math.pi * (time - peak) / (1 - peak))) / 2


def plateau(step, epochs, steps_per_epoch, rows, **settings):
    return 1.0  # it looks at results: see plateau_factors


SCHEDULES = {
    "constant": constant, "inverse_scaling": inverse_scaling, "step": step_decay, "cosine": cosine,
    "one_cycle": one_cycle, "plateau": plateau,
}  # fmt: skip


def schedule(name, step, epochs, steps_per_epoch, rows, warmup, **settings):
    """The factor of any schedule, with its warm-up."""
    value = SCHEDULES[name](step, epochs, steps_per_epoch, rows, **settings)
    warmup_steps = warmup * steps_per_epoch
    if step + 1 < warmup_steps:
        value *= (step + 1) / warmup_steps
    return value


def plateau_factors(losses, factor, patience, tolerance, minimum):
    """The factor after each epoch, from the losses of the epochs."""
    factors, present, best, bad = [], 1.0, math.inf, 0
    for loss in losses:
        if loss <= best - tolerance:
            bad = 0
        else:
            bad += 1
        if loss < best:
            best = loss
        if bad > patience:
            present = max(present * factor, minimum)
            bad = 0
        factors.append(present)
    return factors


# --- a training: linear regression, mean squared error ---


def linear_training(X, y, w, b, batches, learning_rates, make_rule, weights=None, l2=0.0, scaling="batch", clip=None):
    """Train y = X @ w + b batch by batch.

    Parameters
    ----------
    X : list of rows of numbers
    y, w : lists of numbers
    b : number
    batches : list of lists of row numbers
    learning_rates : list of numbers
    make_rule : callable
        Makes the optimizer of one parameter.

    Returns
    -------
    w, b, log
        The log has, for each batch, the sum of weighted losses, the sum of weights, and the penalty.
    """
    features = len(w)
    w, rules, log = list(w), [make_rule() for _ in range(features + 1)], []
    for batch, learning_rate in zip(batches, learning_rates, strict=True):
        loss_sum, weight_sum, gradient = 0.0, 0.0, [0.0] * (features + 1)
        for row in batch:
            error = sum(X[row][j] * w[j] for j in range(features)) + b - y[row]
            weight = 1.0 if weights is None else weights[row]
            loss_sum += weight * error**2
            weight_sum += weight
            for j in range(features):
                gradient[j] += weight * 2 * error * X[row][j]
            gradient[features] += weight * 2 * error
        gradient = [g / weight_sum for g in gradient]
        strength = l2 / weight_sum if scaling == "row" else l2
        log.append([loss_sum, weight_sum, strength / 2 * sum(v**2 for v in w)])
        for j in range(features):
            gradient[j] += strength * w[j]
        norm = math.sqrt(sum(g**2 for g in gradient))
        if clip is not None and norm > clip:
            gradient = [g * clip / norm for g in gradient]
        for j in range(features):
            w[j] = rules[j].new(w[j], gradient[j], learning_rate, is_weight=True)
        b = rules[features].new(b, gradient[features], learning_rate, is_weight=False)
    return w, b, log


# --- dropout: from the paper's definition of Threefry-2x32, on Python's integers ---

WORD = 2**32


def rotate_left(word, bits):
    return (word << bits | word >> (32 - bits)) % WORD


def threefry(key, counter, rounds=13):
    """Salmon et al. 2011, section 3.3: inject a key every four rounds; a round adds, rotates and exclusive-ors."""
    rotations = [13, 15, 26, 6, 17, 29, 16, 24]
    keys = [key[0], key[1], 0x1BD11BDA ^ key[0] ^ key[1]]
    a = (counter[0] + keys[0]) % WORD
    b = (counter[1] + keys[1]) % WORD
    for r in range(rounds):
        a = (a + b) % WORD
        b = rotate_left(b, rotations[r % 8]) ^ a
        if (r + 1) % 4 == 0:
            s = (r + 1) // 4
            a = (a + keys[s % 3]) % WORD
            b = (b + keys[(s + 1) % 3] + s) % WORD
    return a, b


def dropout_mask(seed, step, layer, rate, rows, units):
    """What one unit of one row is multiplied by: four units share the 64 bits of a block, lowest first."""
    key = threefry((seed % WORD, seed // WORD % WORD), (step, layer))
    threshold = round(rate * 65536)
    mask = []
    for row in range(rows):
        values = []
        for unit in range(units):
            low, high = threefry(key, (row, unit // 4))
            lane = ((high << 32 | low) >> (16 * (unit % 4))) % 65536
            values.append(65536 / (65536 - threshold) if lane >= threshold else 0.0)
        mask.append(values)
    return mask
