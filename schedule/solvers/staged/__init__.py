"""The staged integer program: contraction → model → HiGHS → plan, and its refinement."""
