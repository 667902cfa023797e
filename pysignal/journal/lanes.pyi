"""Threads that carry out jobs on the files of a folder. It has a C face only."""
