"""Run folders: begun, found, resumed; the identity of documents and model; what is taken out of a run."""
