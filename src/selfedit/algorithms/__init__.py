"""Learning from rewards: which self-edits the policy is trained on."""
