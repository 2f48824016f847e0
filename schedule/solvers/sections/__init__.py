"""Whole sections of the program, run again as one: where little fits, single reruns don't help."""
