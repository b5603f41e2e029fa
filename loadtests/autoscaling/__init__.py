"""A simulation of the autoscaler over traces of requests: does it follow, and does it settle?"""
