"""How the mission's quota is shared out: pages of the file, room for its log, the reserve.

The quota bounds what the store takes on the disk at every moment. The file can never grow over its
pages (`max_page_count`); before a transaction the log is copied back if what the transaction may
add would not fit beside the file. Estimates are of SQLite's documentation, "Database File Format":
what does not fit into a page goes to pages of its own, and a page that splits is half full.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

PAGE: Final = 4096
FRAME: Final = PAGE + 24
SHARED: Final = 32_768
"""SQLite's index of the log, as long as that has under 4,062 pages."""
LEAST_QUOTA_MB: Final = 0.5
"""So small may the quota of a mission be; who opens a store without its mission takes no more."""
LOG_MOST: Final = 4_000_000
LOG_LEAST: Final = 160_000
RESERVE_MOST: Final = 8_000_000
RESERVE_LEAST: Final = 500_000
CONTACT_PAGES: Final = 16
_SHARE: Final = 16
_LEAF: Final = 4000
"""The longest row that is kept on a page with others."""
_ROW: Final = 96
"""What a product's row takes beside its data, and its entries in the indices."""
_FIXED: Final = 16
"""Pages that any transaction may touch: the upper ones of each tree, the store's own values."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Octets: `quota` all in all, `log` at least for the log, `reserve` for the file that holds
    room; `pages` is the most that the store's file may have, `CONTACT_PAGES` of them for contacts
    alone."""

    quota: int
    log: int
    reserve: int
    pages: int

    @classmethod
    def of(cls, quota: int) -> Budget:
        """Share out a quota of so many octets."""
        log = min(LOG_MOST, max(LOG_LEAST, quota // _SHARE))
        reserve = min(RESERVE_MOST, quota // _SHARE)
        reserve = reserve if reserve >= RESERVE_LEAST else 0
        return cls(quota, log, reserve, max(1, (quota - log - reserve - SHARED) // PAGE))

    def log_room(self, pages: int) -> int:
        """Octets that the log may have beside a file of so many pages."""
        return max(self.log, self.quota - self.reserve - SHARED - pages * PAGE)


def pages_for(sizes: Iterable[int]) -> int:
    """The most pages that products of so many octets, and what goes with them, may add or change
    in a transaction."""
    small = large = count = 0
    for size in sizes:
        count += 1
        if size + _ROW > _LEAF:
            large += size // (PAGE - 4) + 2
        else:
            small += size + _ROW
    return _FIXED + large + 2 * small // PAGE + 2 * count * 40 // PAGE
