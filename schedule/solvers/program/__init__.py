"""The graph as arrays for solvers: what runs, what it reads and writes, and what that takes."""
