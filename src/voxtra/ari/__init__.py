"""The wire: typed requests to Asterisk's REST interface (ARI), and its events."""

from __future__ import annotations

from voxtra.ari.client import ARIClient

__all__ = ["ARIClient"]
