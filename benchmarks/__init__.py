"""What is measured by `make bench`; nothing here is asserted in a test."""
