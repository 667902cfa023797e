"""Histories that a fuzzer makes up: bytes become operations, and the model says what is right.

* `target`: runs one input;
* `__main__`: `make fuzz`, guided by the coverage of the model and of the SDK (atheris);
* `corpus/`: inputs that between them reach most of both; `test_corpus` runs them with every change.
"""
