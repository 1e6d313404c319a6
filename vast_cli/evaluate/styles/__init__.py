"""The map of style codes and how well it separates labels (paper, Fig. 6)."""
