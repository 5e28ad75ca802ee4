"""The command line: one entry for every program, errors in one line, the comparison of finished runs.

The programs divide files and devices among processes by locks and cores as Linux has them; the library runs elsewhere too.
"""

import sys

if sys.platform != "linux":  # before a module is imported that another system does not have
    sys.exit(f"error: the programs run on Linux, not on {sys.platform}; ratespike.load and ratespike.simulate do")
