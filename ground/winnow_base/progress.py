"""Where long work reports to."""

from __future__ import annotations

from collections.abc import Callable

Step = Callable[[str, int, int], None]
"""Called with a step's name, what is done and what there is to do."""
