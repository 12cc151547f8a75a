"""`dgl-rsis tile` and `untile`: between scenes and tasks; the grids are `dgl_rsis.scenes`."""
