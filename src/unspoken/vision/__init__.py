"""Images of a data set: untrusted files that are checked before training, and read as RGB."""
