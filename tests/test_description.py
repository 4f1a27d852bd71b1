"""Descriptions as text, and what is said of a wrong one."""

import numpy as np
import pytest

from nnaccel.activations import ACTIVATIONS, LeakyReLU, as_activation
from nnaccel.errors import InputError
from nnaccel.losses import LOSSES, Huber, as_loss
from nnaccel.optimizers import L2, OPTIMIZERS, SGD, Adam, as_optimizer
from nnaccel.schedules import SCHEDULES, Cosine, StepDecay, as_schedule

READERS = [(as_activation, ACTIVATIONS), (as_loss, LOSSES), (as_optimizer, OPTIMIZERS), (as_schedule, SCHEDULES)]


@pytest.mark.parametrize(("read", "name"), [(read, name) for read, known in READERS for name in known])
def test_names_and_texts_come_back(read, name):
    assert read(name).name == name
    assert read(str(read(name))) == read(name)
    assert read(read(name)) == read(name)


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (as_activation, "Leaky-ReLU, slope = 0.1", LeakyReLU(0.1)),
        (as_optimizer, "sgd,momentum=0.9,nesterov=true,learning-rate=1e-2", SGD(0.01, 0.9, True)),
        (as_optimizer, "adam,correction=moments", Adam(correction="moments")),
        (as_schedule, "step,every=3", StepDecay(every=3)),
        (as_schedule, "cosine,warmup=2", Cosine(warmup=2.0)),
    ],
)
def test_settings(read, text, value):
    assert read(text) == value
    assert read(str(value)) == value


@pytest.mark.parametrize(
    ("read", "text", "sentence"),
    [
        (as_activation, "relus", "unknown activation 'relus' .did you mean 'relu'..; known: identity"),
        (as_activation, 3, "3 is no activation"),
        (as_activation, "leaky_relu,slop=1", "no setting 'slop=1' .did you mean 'slope'..; its settings: slope"),
        (as_activation, "leaky_relu,slope", "no setting 'slope'"),
        (as_activation, "relu,slope=1", "its settings: none"),
        (as_activation, "leaky_relu,slope=-1", "slope of leaky_relu must be 0 or more"),
        (as_activation, "elu,alpha=0", "alpha of elu must be above 0"),
        (as_loss, "huber,delta=nan", "delta of huber must be above 0"),
        (as_loss, "softmax_cross_entropy,label_smoothing=1", "at least 0 and below 1"),
        (as_optimizer, "sgd,momentum=1", "momentum must be at least 0 and below 1"),
        (as_optimizer, "sgd,nesterov=maybe", "must be true or false, not 'maybe'"),
        (as_optimizer, "adam,beta_2=1", "beta_2 must be at least 0 and below 1"),
        (as_optimizer, "adam,epsilon=0", "epsilon must be above 0"),
        (as_optimizer, "adam,correction=both", "correction must be 'rate' or 'moments'"),
        (as_optimizer, "adamw,weight_decay=-1", "weight decay must be 0 or more"),
        (as_optimizer, "adam,learning_rate=inf", "learning rate must be above 0 and finite"),
        (as_schedule, "step,every=1.5", "must be a whole number, not '1.5'"),
        (as_schedule, "step,every=0", "every 1 epoch or more"),
        (as_schedule, "cosine,final=2", "from 0 to 1"),
        (as_schedule, "one_cycle,peak=1", "peak of one_cycle"),
        (as_schedule, "plateau,factor=0", "factor of the plateau schedule"),
        (as_schedule, "constant,warmup=-1", "warm-up must be 0 epochs or more"),
    ],
)
def test_a_wrong_text_gets_a_sentence(read, text, sentence):
    with pytest.raises(InputError, match=sentence):
        read(text)


def test_numpy_numbers_become_pythons():
    """A float64 scalar would turn a float32 training into float64."""
    for value in (Huber(np.float64(0.5)).delta, Adam(np.float32(0.5)).learning_rate, L2(np.float64(0.1)).strength):
        assert type(value) is float
    with pytest.raises(InputError, match=r"must be a number, not '0\.1'"):
        Adam("0.1")
