"""From the reference in a task to pixels in memory, guarded and cached; no files of commands."""
