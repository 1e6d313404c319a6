#!/usr/bin/env bash
# One command per use. Run it in a folder of your own:  bash path/to/examples/commands.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

# the main job: the avatar speaks the audio in the style of the prompt
vast render --audio "$here/speech.flac" --prompt "$here/prompt.mp4" --avatar obama -o spoken.mp4 --sidecar

# the style as a file, used again without the video, and stronger than it was
vast encode-style "$here/prompt.mp4" -o lively.style
vast render --audio "$here/speech.flac" --style lively.style --style-strength 1.5 -o lively.mp4

# a quick look
vast render --audio "$here/speech.flac" --style lively.style --preset draft -o draft.mp4

# every stage by itself
vast extract "$here/prompt.mp4" -o prompt.track --preview seen.mp4
vast ppg "$here/speech.flac" -o speech.ppg
vast predict --audio "$here/speech.flac" --style lively.style --avatar obama -o speech.motion

# for programs: one JSON document on standard output
vast render --audio "$here/speech.flac" --style lively.style -o spoken.mp4 --overwrite --json > result.json

# what a style does to a face, beside the neutral one; styles that `--style` takes by name
vast styles show lively.style
vast styles list

# what is installed, and whether this machine is fit
vast avatars list
vast avatars info obama
vast doctor
vast schema sidecar > sidecar.schema.json
