"""Training the starter weights; the images that it makes up are `scenes`."""
