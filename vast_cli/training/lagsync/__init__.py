"""LagSync: corpus, batches, contrastive training, figures."""
