"""Tests of the provisioner: real parts, misbehaving on demand."""
