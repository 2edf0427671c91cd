"""Projections retell the log as read models: one a file, with its table, its fold and its questions."""
