"""The main job: audio, prompt and avatar to a talking video (the paper's Fig. 2); start with render.py."""
