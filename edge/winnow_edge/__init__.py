"""Winnow on board: stream a swath through a tile classifier, keep and rank what is worth sending.

Depends on numpy, ai-edge-litert, pillow and spacepackets alone, and imports nothing of the ground.
"""

__version__ = "0.1.0"
