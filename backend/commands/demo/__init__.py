"""`dgl-rsis demo`: the main job in one minute, with what comes along; for `samples/`, too."""
