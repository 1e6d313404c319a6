"""Honest measurement: measures with their controls, reports, comparisons, rating studies (`docs` of each module)."""
