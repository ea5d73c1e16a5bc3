"""Words to tensors, one file per arrow. It knows no model and no method."""
