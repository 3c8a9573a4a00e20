"""What the tests stand on: a Hub that can misbehave, a proxy, and a miniature of the real data."""
