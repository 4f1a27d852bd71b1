"""The benchmark's contenders compute the same: what is timed is worth timing."""

import pytest
from nnaccel.bench.reference import check_agreement, variants


@pytest.mark.parametrize("case", list(variants(("tabular", "digits", "neuron"))), ids=str)
def test_the_reference_and_the_hand_written_loop_agree(case):
    check_agreement(case, case.data())
