"""Batches: hundreds of renders, resumable, none lost.

manifest -> opening -> plan -> run -> coordinator -> executors -> worker; the journal holds what became of each job.
"""
