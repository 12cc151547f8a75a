"""Label Studio's regions, to masks and from masks; no file formats of training sets and no HTTP."""
