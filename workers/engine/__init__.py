"""A loaded model that answers requests; how requests get here is `queue` and `processes`."""
