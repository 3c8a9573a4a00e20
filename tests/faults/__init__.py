"""Tests of what goes wrong: each fault really happens, and each says so."""
