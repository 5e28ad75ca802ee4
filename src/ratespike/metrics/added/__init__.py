"""Further metrics, one file each; `ratespike.metrics.names.metrics` finds them. How to write one: docs/adding_a_metric.md."""
