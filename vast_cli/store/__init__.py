"""Files of the package and of its users: weights, avatar bundles, presets, the cache, file hashes."""
