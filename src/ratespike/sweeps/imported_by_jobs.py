"""What every job of a multirun imports sooner or later; the fork server imports it once, so that the jobs need not."""

import ratespike.pipeline.run
import ratespike.simulation.event_driven  # noqa: F401
from ratespike.tracking import store

store.import_databases()
