"""The loops. Only here is anything changed in place."""
