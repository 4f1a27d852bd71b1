"""Fixtures for all tests."""

import os
import signal

import pytest

from nnaccel import profile
from nnaccel.backends import backend_class, backend_names, get_backend
from nnaccel.cli import run

pytest.register_assert_rewrite("tests.pairs_of_estimators", "tests.strict_backend", "tests.tolerance")

from tests.cuda_stand_in_backend import CudaOnCpuBackend  # noqa: E402
from tests.strict_backend import ReadOnlyBackend, StrictBackend  # noqa: E402

# Processes that tests start, and send signals to, mustn't ignore these because nohup or a shell's & has had it so.
for _signal, _usual in {"SIGHUP": signal.SIG_DFL, "SIGINT": signal.default_int_handler}.items():
    if hasattr(signal, _signal) and signal.getsignal(getattr(signal, _signal)) is signal.SIG_IGN:
        signal.signal(getattr(signal, _signal), _usual)

# Tests shall neither write into the user's records nor depend on what was measured of this machine.
os.environ["NNACCEL_RECORDS"] = "off"
profile.STORED = "profile-for-tests.json"

_FOR_TESTS = {"strict": StrictBackend(), "read_only": ReadOnlyBackend()}
_MORE = {"cuda_on_cpu": CudaOnCpuBackend}


def _parameter(name):
    return pytest.param(name, marks=[pytest.mark.cuda] if name == "cuda" else [])


@pytest.fixture(scope="session", params=[_parameter(name) for name in (*backend_names(), *_FOR_TESTS, *_MORE)])
def backend(request):
    """Every backend that can run here, found by its file; two more with arrays that tolerate no carelessness; and cuda's
    programs without a GPU."""
    if request.param in _FOR_TESTS:
        return _FOR_TESTS[request.param]
    found = _MORE.get(request.param) or backend_class(request.param)
    reason = found.unavailable_reason()
    if reason is not None:
        pytest.skip(reason)
    return found() if request.param in _MORE else get_backend(request.param)


@pytest.fixture(scope="session")
def strict():
    """The backend on array-api-strict."""
    return _FOR_TESTS["strict"]


@pytest.fixture
def command(capsys):
    """Run a command through its real entry point; its exit code, stdout and stderr."""

    def call(*arguments):
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
