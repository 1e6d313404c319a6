"""Batches: manifest -> plan -> run (executors) -> journal; hundreds of renders, resumable, none lost."""
