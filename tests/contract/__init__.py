"""Tests of the protocols between us and the outside."""
