"""Tests of one unit each, without network."""
