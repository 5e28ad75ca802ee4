"""How kernels are compiled: options for `numba.njit`."""

from typing import Any

from numba import njit


def _has_place_for_cache() -> bool:
    """Whether Numba can keep what it compiles: beside the sources, in the user's cache folder or in `NUMBA_CACHE_DIR`."""

    def kernel() -> None:
        """Stands for any of this package."""

    try:
        njit(cache=True)(kernel)
    except RuntimeError:
        return False
    return True


# Threads run kernels side by side (nogil); a*b + c may round once (contract), nothing else of IEEE arithmetic is given up.
# Nobody calls a kernel from C: the wrapper for that would only take time to compile.
# Where nothing can be written each process compiles anew.
KERNEL: dict[str, Any] = {
    "nogil": True,
    "cache": _has_place_for_cache(),
    "error_model": "numpy",
    "fastmath": {"contract"},
    "no_cfunc_wrapper": True,
}
# Arrays are borrowed from the caller and not counted: counting is atomic, and threads share the network's arrays. What is
# compiled so cannot make an array.
BORROW: dict[str, Any] = {**KERNEL, "_nrt": False}
# For what only compiled code calls: without the wrapper that Python calls.
INNER: dict[str, Any] = {**BORROW, "no_cpython_wrapper": True}
# For small functions in loops: always compiled into their caller.
INLINE: dict[str, Any] = {**INNER, "forceinline": True}
