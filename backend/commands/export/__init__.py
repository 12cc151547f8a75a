"""`dgl-rsis export`: from annotations to a training set; reading regions is `backend.regions`."""
