"""Quality gates: limits that a finished video must reach before it gets its name."""
