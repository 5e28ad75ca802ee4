"""Freed memory is kept for the next tensors."""

import ctypes
import resource

import numpy as np
import pytest

from ratespike.execution.memory import keep_freed_memory

BYTES = 16 * 2**20
AT_ONCE = 6  # together more than glibc keeps by itself
PAGES = AT_ONCE * BYTES // resource.getpagesize()


def faults_of_a_step() -> int:
    """How many pages the kernel has to give while some arrays are made and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(BYTES, np.uint8) for _ in range(AT_ONCE)]
    after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    del arrays
    return after - before


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_the_second_step_asks_for_no_new_memory() -> None:
    keep_freed_memory()
    faults_of_a_step()
    assert faults_of_a_step() < PAGES / 10
