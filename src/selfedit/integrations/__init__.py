"""selfedit inside other trainers and harnesses."""
