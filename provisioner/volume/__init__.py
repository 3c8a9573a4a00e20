"""The disk edge: what is on the volume, and how it gets there whole."""
