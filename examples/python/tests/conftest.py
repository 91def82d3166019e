"""Tables for the tests, compressed once."""
import numpy as np
import pytest

import tt_embed


@pytest.fixture(scope="session")
def dense():
    """(600, 48): rows of low rank, and noise."""
    rng = np.random.default_rng(5)
    return (rng.standard_normal((600, 12)) @ rng.standard_normal((12, 48))
            + 0.3 * rng.standard_normal((600, 48))).astype(np.float32)


@pytest.fixture(scope="session")
def table(dense):
    return tt_embed.compress(dense, ratio=6)


@pytest.fixture(scope="session")
def decoded(table):
    return np.asarray(table)


def relative(a, b):
    return float(np.linalg.norm(np.asarray(a, float) - b) / np.linalg.norm(b))
