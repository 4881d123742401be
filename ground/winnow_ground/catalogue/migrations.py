"""How a catalogue of an older schema becomes one of the next: one step a version, rows are kept.

A step is written as the schema of its version was, and stays as it is when the schema goes on.
"""

from __future__ import annotations

from typing import Final

_TO_2: Final = (
    """CREATE TABLE label_set (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        class INTEGER REFERENCES class(id),
        page INTEGER NOT NULL DEFAULT 60 CHECK (page BETWEEN 20 AND 200),
        hidden INTEGER NOT NULL DEFAULT 1 CHECK (hidden IN (0, 1)),
        seed INTEGER NOT NULL DEFAULT 0,
        how TEXT NOT NULL DEFAULT '{}',
        person TEXT NOT NULL,
        at TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE label_set_tile (
        label_set INTEGER NOT NULL REFERENCES label_set(id) ON DELETE CASCADE,
        tile INTEGER NOT NULL REFERENCES tile(id) ON DELETE CASCADE,
        score REAL,
        PRIMARY KEY (label_set, tile)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX label_set_of ON label_set_tile (tile)",
    "ALTER TABLE label ADD COLUMN client TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE label ADD COLUMN label_set INTEGER REFERENCES label_set(id) ON DELETE SET NULL",
    "ALTER TABLE label ADD COLUMN told INTEGER NOT NULL DEFAULT 1 CHECK (told IN (0, 1))",
    "CREATE UNIQUE INDEX label_client ON label (tile, person, client) WHERE client <> ''",
    """CREATE TABLE decision (
        id INTEGER PRIMARY KEY,
        tile INTEGER NOT NULL REFERENCES tile(id) ON DELETE CASCADE,
        person TEXT NOT NULL,
        class INTEGER REFERENCES class(id),
        answer TEXT NOT NULL CHECK (answer IN ('shows', 'nothing', 'unsure')),
        comment TEXT NOT NULL DEFAULT '',
        at TEXT NOT NULL,
        withdrawn TEXT,
        CHECK ((answer = 'shows') = (class IS NOT NULL))
    ) STRICT""",
    "CREATE UNIQUE INDEX decision_of ON decision (tile) WHERE withdrawn IS NULL",
)
MIGRATIONS: Final = (_TO_2,)
"""Statements from version n + 1 to n + 2, at n."""
