"""What ``doctor`` tries out, by subject. A probe leaves nothing behind and fetches no data."""
