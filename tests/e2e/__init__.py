"""The built image, in real containers on real volumes."""
