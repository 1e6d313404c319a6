"""Maps of style codes, and how well the codes separate labels (paper, Fig. 6)."""
