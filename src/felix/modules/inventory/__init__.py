"""Inventory: items, where they are, how many there are, and what is promised to somebody."""
