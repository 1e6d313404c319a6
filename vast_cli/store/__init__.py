"""What is kept on disk: shipped weights, avatar bundles, presets, file hashes, and the cache."""
