"""What is measured, by `make bench` or one by one; nothing here is asserted in a test."""
