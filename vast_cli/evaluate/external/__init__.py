"""External models: published networks and programs that the user brings; without one its measures are null."""
