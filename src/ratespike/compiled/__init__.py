"""Machine code for the hot loops on CPUs, made by Numba: what the simulation and the training share."""
