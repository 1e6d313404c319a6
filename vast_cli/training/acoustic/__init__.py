"""The acoustic network: corpora, labels, augmentation, training, scores (paper 4.1)."""
