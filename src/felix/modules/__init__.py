"""Modules: ready-made parts of apps. A package each, found by its ``manifest.json``, and taken out by removing it."""
