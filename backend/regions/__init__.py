"""Label Studio's regions, to masks and from masks, and records of them; no files and no HTTP."""
