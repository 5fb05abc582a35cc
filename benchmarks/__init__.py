"""The engine beside what one would run instead. `python -m benchmarks --help` says how; docs/performance.md what came of it."""
