"""The staged program: model, cuts, rounding, refinement, HiGHS, and the search along its plans."""
