"""Families of tasks: where contexts and their questions come from."""
