"""Sampling, training and scoring: the protocol, the embedded torch engine, and a fake one."""
