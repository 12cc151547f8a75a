"""One module for each format of training sets; what belongs in a set is decided before."""
