"""Label Studio as a service and as a file: its REST API and its exports; what calls us is `web`."""
