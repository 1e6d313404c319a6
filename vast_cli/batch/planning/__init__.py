"""Decides what a batch run does with each job, and why.

`fingerprint` says what a result depends on, `decisions` compares it with the journal, `shards` splits a manifest over
machines, `capacity` counts workers, `estimate` predicts time and disk from `speeds`; `plan` puts it all together.
"""
