"""Few-shot ARC: a rule is shown by pairs of small grids and has to be applied to another grid (SEAL, section "Few-Shot Learning")."""
