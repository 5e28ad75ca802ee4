"""Why accuracy falls from rates to spikes: by layer, split into parts, with the one remedy to try.

`diagnose` is the whole of it; what it measures stands in `decomposition`, `activity` and `swap`, what it concludes in `causes`
and `advice`.
"""

from ratespike.diagnosis.case import Case
from ratespike.diagnosis.diagnosis import Diagnosis, diagnose, diagnose_case
from ratespike.diagnosis.figure import draw

__all__ = ["Case", "Diagnosis", "diagnose", "diagnose_case", "draw"]
