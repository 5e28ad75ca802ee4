"""How kernels are compiled."""

from typing import Any

# Threads run kernels side by side (nogil); a*b + c may round once (contract), nothing else of IEEE arithmetic is given up.
KERNEL: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract"}}
# For what is called in loops: arrays are borrowed from the caller, not counted (counting is atomic, and threads share
# the plan).
BORROW: dict[str, Any] = {**KERNEL, "_nrt": False}
INLINE: dict[str, Any] = {**BORROW, "forceinline": True}
