"""Ways in: anything that becomes a `Graph`, and files of both kinds."""
