"""Edit vectors: the policy that draws them, how it learns from rewards, and the rows that they are compared with. `rows/` has a file a row."""
