"""What stands where in a generated scene; no pixels."""
