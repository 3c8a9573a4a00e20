"""Support for the tests: a Hub server that can misbehave, a proxy, and a miniature of the real data."""
