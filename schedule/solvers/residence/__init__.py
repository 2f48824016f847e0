"""What is in memory while an order of runs is followed, compiled: the inside of `eviction.fit`."""
