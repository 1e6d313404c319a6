"""Keeps what a batch must remember between runs in its state folder.

`journal` appends a line for each thing that happens, `journal_lines` reads and checks the lines, `journal_replay` turns
them into the state of every job. `command_line` and `overrides` keep what users said, `folder` opens and locks it all.
"""
