"""The command line: options in, exit codes and messages out; no logic of its own."""
