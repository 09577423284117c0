"""The one error of this package."""

from __future__ import annotations


class DatasetError(ValueError):
    """A dataset cannot be had as asked; the message is one line with the remedy."""
