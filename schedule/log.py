"""The logger `schedule`: silent until somebody asks, by the standard library's means.

At INFO it says what each solve is asked and what comes of it, and where that takes
longer than usual; at DEBUG also every better schedule and bound, and who is at work.
"""

from __future__ import annotations

import logging

LOG = logging.getLogger("schedule")
LOG.addHandler(logging.NullHandler())
