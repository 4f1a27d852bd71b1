"""Descriptions as text and as objects: what is read, what is written, and what is refused with which sentence."""

from dataclasses import FrozenInstanceError, fields

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from nnaccel.activations import ACTIVATIONS, LeakyReLU, ReLU, as_activation
from nnaccel.errors import InputError
from nnaccel.losses import LOSSES, SoftmaxCrossEntropy, as_loss
from nnaccel.network import Dense, Network
from nnaccel.optimizers import L2, OPTIMIZERS, SGD, Adam, as_optimizer
from nnaccel.plan import Plan
from nnaccel.schedules import SCHEDULES, Cosine, OneCycle, as_schedule

KINDS = {
    "activation": (ACTIVATIONS, as_activation),
    "loss": (LOSSES, as_loss),
    "optimizer": (OPTIMIZERS, as_optimizer),
    "schedule": (SCHEDULES, as_schedule),
}
EVERY = [(kind, name) for kind, (known, _) in KINDS.items() for name in known]
CHOICES = {"correction": ["rate", "moments"]}


def values_of(field):
    """Values of a setting; some are out of its range."""
    if field.type is bool:
        return st.booleans()
    if field.type is int:
        return st.integers(0, 9)
    return (
        st.floats(0, 1, exclude_min=True, exclude_max=True)
        if field.type is float
        else st.sampled_from(CHOICES[field.name])
    )


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_name_alone_reads_as_the_defaults(kind, name):
    known, read = KINDS[kind]
    assert read(name) == known[name]()
    assert str(known[name]()) == name


@given(data=st.data())
@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_the_text_of_a_description_reads_as_itself(kind, name, data):
    known, read = KINDS[kind]
    settings = {f.name: data.draw(values_of(f), f.name) for f in fields(known[name])}
    try:
        description = known[name](**settings)
    except InputError:
        return
    assert read(str(description)) == description
    assert read(description) is description


@pytest.mark.parametrize(("kind", "text", "description"), [
    ("activation", "leaky_relu,slope=0.1", LeakyReLU(0.1)),
    ("activation", "leaky-relu,slope=0.1", LeakyReLU(0.1)),
    ("activation", " Leaky-ReLU , slope = 1e-1 ", LeakyReLU(0.1)),
    ("activation", "RELU", ReLU()),
    ("loss", "softmax-cross-entropy,label-smoothing=0.1", SoftmaxCrossEntropy(0.1)),
    ("optimizer", "sgd,learning-rate=1,momentum=0.9,nesterov=True", SGD(1.0, 0.9, True)),
    ("optimizer", "adam,correction=moments", Adam(correction="moments")),
    ("schedule", "one-cycle,warmup=2", OneCycle(warmup=2.0)),
])  # fmt: skip
def test_a_text_may_have_dashes_capitals_and_spaces(kind, text, description):
    assert KINDS[kind][1](text) == description


@pytest.mark.parametrize(("kind", "text", "sentence"), [
    ("activation", "rleu", "unknown activation 'rleu' (did you mean 'relu'?); known: identity, sigmoid,"),
    ("activation", "", "unknown activation ''; known: identity,"),
    ("activation", 3, "3 is no activation: give one of identity,"),
    ("activation", None, "None is no activation: give one of identity,"),
    ("activation", SGD(), "SGD(learning_rate=0.01, momentum=0.0, nesterov=False) is no activation: give one of"),
    ("activation", "relu,slope=1", "activation 'relu' has no setting 'slope=1'; its settings: none."),
    ("activation", "elu,alpa=1", "has no setting 'alpa=1' (did you mean 'alpha'?); its settings: alpha=..."),
    ("activation", "elu,alpha", "has no setting 'alpha' (did you mean 'alpha'?); its settings: alpha=..."),
    ("activation", "elu,alpha=big", "activation 'elu': alpha must be a number, not 'big'."),
    ("activation", "elu,alpha=0", "the alpha of elu must be above 0, not 0.0."),
    ("activation", "elu,alpha=inf", "the alpha of elu must be above 0, not inf."),
    ("activation", "leaky_relu,slope=-1", "the slope of leaky_relu must be 0 or more, not -1.0."),
    ("activation", "leaky_relu,slope=nan", "the slope of leaky_relu must be 0 or more, not nan."),
    ("loss", "mse", "unknown loss 'mse'"),
    ("loss", "huber,delta=0", "the delta of huber must be above 0, not 0.0."),
    ("loss", "softmax_cross_entropy,label_smoothing=1", "label smoothing must be at least 0 and below 1, not 1.0."),
    ("loss", "binary_cross_entropy,label_smoothing=-0.1", "label smoothing must be at least 0 and below 1, not -0.1."),
    ("optimizer", "adma", "unknown optimizer 'adma' (did you mean 'adam'?); known: sgd, adam, adamw."),
    ("optimizer", "sgd,learning_rate=0", "the learning rate must be above 0 and finite, not 0.0; 0.001 is a common start."),
    ("optimizer", "adam,learning_rate=inf", "the learning rate must be above 0 and finite, not inf"),
    ("optimizer", "adamw,learning_rate=nan", "the learning rate must be above 0 and finite, not nan"),
    ("optimizer", "sgd,momentum=1", "the momentum must be at least 0 and below 1, not 1.0."),
    ("optimizer", "sgd,nesterov=yes", "optimizer 'sgd': nesterov must be true or false, not 'yes'."),
    ("optimizer", "adam,beta_1=1", "beta_1 must be at least 0 and below 1, not 1.0."),
    ("optimizer", "adam,beta_2=-1", "beta_2 must be at least 0 and below 1, not -1.0."),
    ("optimizer", "adam,epsilon=0", "epsilon must be above 0, not 0.0."),
    ("optimizer", "adam,correction=none", "correction must be 'rate' or 'moments', not 'none'."),
    ("optimizer", "adamw,weight_decay=-1", "the weight decay must be 0 or more, not -1.0."),
    ("schedule", "linear", "unknown schedule 'linear'"),
    ("schedule", "constant,warmup=-1", "the warm-up must be 0 epochs or more, not -1.0."),
    ("schedule", "inverse_scaling,power=-1", "the power of inverse_scaling must be 0 or more, not -1.0."),
    ("schedule", "step,every=0", "the step schedule must step every 1 epoch or more, not 0."),
    ("schedule", "step,every=1.5", "schedule 'step': every must be a whole number, not '1.5'."),
    ("schedule", "step,factor=0", "the factor of the step schedule must be above 0 and at most 1, not 0.0."),
    ("schedule", "cosine,final=2", "the final factor of cosine must be from 0 to 1, not 2.0."),
    ("schedule", "one_cycle,peak=1", "the peak of one_cycle must be above 0 and below 1, not 1.0."),
    ("schedule", "one_cycle,start=2", "the start of one_cycle must be from 0 to 1"),
    ("schedule", "one_cycle,final=-1", "the final of one_cycle must be from 0 to 1"),
    ("schedule", "plateau,factor=2", "the factor of the plateau schedule must be above 0 and at most 1, not 2.0."),
    ("schedule", "plateau,patience=-1", "the patience of plateau must be 0 epochs or more, not -1."),
    ("schedule", "plateau,tolerance=-1", "the tolerance of plateau must be 0 or more, not -1.0."),
    ("schedule", "plateau,minimum=2", "the minimum of plateau must be from 0 to 1, not 2.0."),
])  # fmt: skip
def test_a_bad_text_gets_one_sentence(kind, text, sentence):
    with pytest.raises(InputError) as error:
        KINDS[kind][1](text)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def small():
    return Network(2, [Dense(1)])


@pytest.mark.parametrize(("make", "sentence"), [
    (lambda: SGD("fast"), "sgd: learning_rate must be a number, not 'fast'."),
    (lambda: SGD(True), "sgd: learning_rate must be a number, not True."),
    (lambda: SGD(None), "sgd: learning_rate must be a number, not None."),
    (lambda: SGD(nesterov="yes"), "nesterov"),
    (lambda: LeakyReLU(1j), "leaky_relu: slope must be a number, not 1j."),
    (lambda: L2(-1.0), "the L2 penalty must be 0 or more, not -1.0."),
    (lambda: L2(1.0, "rows"), "the scaling must be 'batch' or 'row', not 'rows'."),
    (lambda: Dense(0), "a layer must have a whole number of units, 1 or more, not 0."),
    (lambda: Dense(2.0), "a layer must have a whole number of units, 1 or more, not 2.0."),
    (lambda: Dense("2"), "a layer must have a whole number of units, 1 or more, not '2'."),
    (lambda: Dense(2, "rleu"), "unknown activation 'rleu' (did you mean 'relu'?)"),
    (lambda: Dense(2, dropout=1), "dropout must be at least 0 and below 1, not 1."),
    (lambda: Dense(2, dropout=-0.1), "dropout must be at least 0 and below 1, not -0.1."),
    (lambda: Dense(2, dropout="0.1"), "dropout must be"),
    (lambda: Dense(2, dropout=np.nan), "dropout must be at least 0 and below 1, not nan."),
    (lambda: Dense(2, initializer="he"), "unknown initializer 'he'; known: glorot_uniform,"),
    (lambda: Network(2, []), "a network needs at least one layer."),
    (lambda: Network(0, [Dense(1)]), "rows can't have the shape (0,): give 1 or more features."),
    (lambda: Network((), [Dense(1)]), "rows can't have the shape (): give 1 or more features."),
    (lambda: Network((2, 3), [Dense(1)]), "takes rows of one dimension, not (2, 3): flatten the data first."),
    (lambda: Network(2.5, [Dense(1)]), "2.5"),
    (lambda: Network(2, [3]), "3 is no layer: give Dense(units, activation), for example."),
    (lambda: Plan(small(), as_loss("softmax_cross_entropy"), SGD()), "so 2 or more, not 1; for two classes with one output"),
    (lambda: Plan(small(), as_loss("huber"), SGD(), clip_norm=0), "the norm to clip gradients at must be above 0, not 0"),
    (lambda: Plan(small(), as_loss("huber"), SGD(), clip_norm="1e3x"), "the norm to clip gradients at must be"),
    (lambda: Plan(small(), as_loss("huber"), SGD(), dtype="float16"), "unknown dtype 'float16'; known: float32, float64."),
    (lambda: small().pack([], "float64"), "got the arrays of 0 layers for 1 layers."),
    (lambda: small().pack([[[[1.0], [2.0]]]], "float64"), "layer 0 has the parameters ['weight', 'bias'], not 1."),
    (lambda: small().pack([[[[1.0]], [2.0]]], "float64"), "the weight of layer 0 has the shape (2, 1), not (1, 1)."),
])  # fmt: skip
def test_a_bad_value_gets_one_sentence(make, sentence):
    with pytest.raises(InputError) as error:
        make()
    assert sentence in str(error.value)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_description_is_frozen_and_hashable(kind, name):
    description = KINDS[kind][0][name]()
    assert len({description, KINDS[kind][1](name)}) == 1
    for field in fields(description):
        with pytest.raises(FrozenInstanceError):
            setattr(description, field.name, 0)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_numpy_number_becomes_a_plain_one(kind, name):
    # Else it would turn a float32 training into float64.
    cls = KINDS[kind][0][name]
    given_ = {f.name: np.float64(f.default) for f in fields(cls) if f.type is float}
    description = cls(**given_)
    assert all(type(getattr(description, setting)) is float for setting in given_)
    assert str(description) == name
    assert type(L2(np.float32(0.5)).strength) is float


def test_a_setting_may_be_given_once():
    with pytest.raises(InputError, match="slope"):
        as_activation("leaky_relu,slope=0.1,slope=0.2")


def test_the_defaults_stay_as_documented():
    # A changed default changes everybody's results, so it must be changed on purpose, here too.
    assert SGD().base_step == (0.01, 0.0, 0.0, 1.0)
    assert Adam().base_step == (0.001, 0.0, 0.0, 1.0)
    assert as_optimizer("adamw").base_step == (0.001, 0.0, 0.01, 1.0)
    assert Cosine() == Cosine(warmup=0.0, final=0.0)
