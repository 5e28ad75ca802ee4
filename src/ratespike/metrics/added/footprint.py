"""What a network takes in memory: the bytes of its parameters and buffers, as NeuroBench counts them."""

from ratespike.metrics.metric import Metric, Unit

FOOTPRINT = Metric(
    name="footprint_bytes",
    label="footprint",
    unit=Unit("kB", scale=1e-3, decimals=1),
    more_is_better=False,
    compute=lambda results: None if results.cost is None else float(results.cost.footprint_bytes),
    in_groups="never",
)
