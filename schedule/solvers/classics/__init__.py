"""Strategies of the literature, one file a paper."""
