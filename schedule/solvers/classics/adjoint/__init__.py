"""Adjoint chains: which graphs are some, what their steps take, and how to bring them back."""
