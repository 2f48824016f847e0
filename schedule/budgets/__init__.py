"""Many solves of one graph: its least budget, the curve of a sweep, all solvers side by side.

How budgets are written and read is `schedule.sizes`.
"""
