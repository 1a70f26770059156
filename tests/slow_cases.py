"""Which cases of a parametrized test `make test` runs."""

import pytest


def slow_except(cases, quick):
    """All `cases`, in their order, marked slow but for those in `quick`.

    A case of several arguments is a tuple.
    """
    return [
        case
        if case in quick
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for case in cases
    ]
