"""Memory that is freed and asked for again in each step of a training, where the C library is glibc."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST_FOR_MMAP_THRESHOLD = 32 * 2**20  # bytes, the most that glibc takes
_MOST_KEPT = 2**28  # bytes


def keep_freed_memory() -> None:
    """Have this process keep the memory of freed tensors for the next ones: of tensors of up to 32 MiB, up to 256 MiB.

    glibc gives such memory back to the system at once. Each step of a training then asks for it anew, and the kernel clears
    every page of it: a third of a training's time on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_FOR_MMAP_THRESHOLD)
        mallopt(_TRIM_THRESHOLD, _MOST_KEPT)
