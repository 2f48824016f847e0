"""The search from the last run back to the first, along what relaxations say."""
