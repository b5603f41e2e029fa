"""A simulation of the autoscaler over traces of requests: whether it follows, and settles."""
