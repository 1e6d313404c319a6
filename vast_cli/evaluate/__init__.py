"""Honest measurement: measures beside their controls, reports, comparisons, rating studies, the map of styles."""
