"""One pass over a clip's video and audio: everything that the measures read."""
