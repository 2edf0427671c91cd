"""Meters, rate cards, and the usage that they price."""
