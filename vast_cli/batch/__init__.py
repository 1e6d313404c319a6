"""Batches: hundreds of renders that lose nothing when they are killed, and resume.

`manifest` reads jobs, `planning` decides which of them run, `run` runs them through `execution`. `state` keeps the
journal of every job; `monitor` and `report` show it.
"""
