"""What a batch reports while it runs: events, the job log and its status."""
