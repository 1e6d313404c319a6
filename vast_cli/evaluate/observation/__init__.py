"""What is observed of a clip: its videos tracked, their frames measured, its audio transcribed to phones."""
