"""Conformance: the behaviour as scenarios, and a runner for them.

    python -m pysignal.conformance                     # those that come with pysignal, embedded
    python -m pysignal.conformance mine/ one.json      # other files and folders
    python -m pysignal.conformance --over mysdk:Way    # over another SDK, see `transport`

A scenario is data, so that SDKs in any language can run the same ones: sessions, calls, time that
goes on, and what every session must then have heard. README.md beside this file describes it.
"""

from pysignal.conformance.command import main
from pysignal.conformance.scenario import Malformed, Scenario, load, user_and_device
from pysignal.conformance.transport import CannotRun, Inspectable, Recorder, Transport, Way

__all__ = [
    "CannotRun",
    "Inspectable",
    "Malformed",
    "Recorder",
    "Scenario",
    "Transport",
    "Way",
    "load",
    "main",
    "user_and_device",
]
