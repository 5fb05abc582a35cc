"""Statistics of runs as pure functions: intervals, reliability of rewards, properties of self-edits."""
