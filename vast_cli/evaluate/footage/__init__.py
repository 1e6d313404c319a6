"""Footage statistics: what an avatar's own footage measures, which ratios divide by."""
