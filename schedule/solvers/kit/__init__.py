"""Compiled code: how it is made, loaded and interrupted, and what all of it uses."""
