"""What a batch reports while it runs: events, job log, status."""
