"""What ratespike imports: each module here defines classes that a configuration then names by `type`."""

from my_spikes.data import Rings
from my_spikes.neuron import Saturating

__all__ = ["Rings", "Saturating"]
