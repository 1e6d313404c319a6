"""One file a measure or family of measures."""
