"""What a batch will do with each job, and why: fingerprints, decisions, estimates, shards."""
