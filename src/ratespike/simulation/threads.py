"""PyTorch's threads, where helpers cost more than they save."""

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import torch
from threadpoolctl import ThreadpoolController


def on_one_thread() -> AbstractContextManager[Any]:
    """Inside the `with` block this thread computes alone; other threads keep theirs, unlike with `torch.set_num_threads`.

    On busy cores a small operation is done before helpers have begun.
    """
    torch.get_num_threads()  # a new thread takes over PyTorch's number when it first asks, which must not be later
    limited: AbstractContextManager[Any] = _openmp().limit(limits=1)
    return limited


@cache
def _openmp() -> ThreadpoolController:
    """PyTorch's OpenMP; looked for once, which takes ten milliseconds."""
    return ThreadpoolController().select(user_api="openmp")
