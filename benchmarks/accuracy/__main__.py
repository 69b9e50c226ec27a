"""The command: `python -m benchmarks.accuracy --help`."""

from benchmarks.accuracy.run import main

main()
