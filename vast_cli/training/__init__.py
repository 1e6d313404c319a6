"""Training of the shared models and of avatars; may import the stages, never the other way round."""
