"""Knowledge incorporation: learn a passage, then answer questions on it without seeing it (SEAL section 4.1)."""
