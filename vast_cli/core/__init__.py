"""What everything stands on: errors, files, time, locks, threads between stages, devices. Imports nothing above it."""
