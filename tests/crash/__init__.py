"""A call server that is killed at random points, and what must hold when it is back.

A `nursery` forks a server for each round; its `people` do everything at random and tell, line by
line, what they asked, what was answered and what every listener heard; `rounds` kills it and starts
the next on the same folder; a `judge` compares what is there with all that was ever told.
"""
