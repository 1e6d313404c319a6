"""Talking avatars in the manner of any video prompt: an implementation of VAST, made for batches."""

__version__ = "0.1.0"
