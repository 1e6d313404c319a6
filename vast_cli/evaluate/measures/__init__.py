"""The measures: one file for each or for a family of them."""
