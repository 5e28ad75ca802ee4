"""Train spiking networks on firing rates, run them on spikes, and measure what the switch costs."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ratespike.conversion.convert import convert
    from ratespike.pipeline.checkpoint import load
    from ratespike.simulation import Simulation, simulate

__all__ = ["Simulation", "convert", "load", "simulate"]


def __getattr__(name: str) -> Any:
    """Import on first use: the command line must answer before torch is imported."""
    if name in ("Simulation", "simulate"):
        from ratespike import simulation

        return getattr(simulation, name)
    if name == "convert":
        from ratespike.conversion.convert import convert

        return convert
    if name == "load":
        from ratespike.pipeline.checkpoint import load

        return load
    raise AttributeError(f"module 'ratespike' has no attribute '{name}'")
