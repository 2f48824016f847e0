"""`python -m schedule`: the same as the command `schedule`."""

from schedule.cli import main

main()
