"""Importing this module registers every handler of changes and apps."""

from felix.application.changes import asking, deciding, deploying, overriding, recording

__all__ = ["asking", "deciding", "deploying", "overriding", "recording"]
