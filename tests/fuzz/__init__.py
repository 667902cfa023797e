"""Histories that a fuzzer makes up: bytes become operations, and the model says what is right.

Frames of the network too, which the server and a client must take or refuse, whatever they are.

* `target`: runs one input;
* `__main__`: `make fuzz`, guided by the coverage of the model and of the SDK (atheris);
* `corpus/`: inputs that between them reach most of it; `test_corpus` runs them with every change.
"""
