"""Which plain numbers the JSON of a run holds, and what is missing from it."""

from __future__ import annotations

from collections.abc import Mapping

# Later benchmarks may add to them; one that is not there fails a run of everything.
NAMES = (
    "core_cycle_vs_floor_1e3",
    "core_cycle_vs_floor_1e5",
    "core_cycle_vs_floor_1e6",
    "core_expire_vs_floor_1e6",
    "core_bytes_per_invitation",
    "core_bytes_per_invitee",
    "core_group_answer_ns_1e4",
    "python_cycle_vs_naive_1e3",
    "python_cycle_vs_naive_1e5",
    "python_cycle_vs_naive_1e6",
    "wheel_rearm_vs_floor_1e6",
    "hub_cycles_per_s_1e3",
    "hub_cycles_per_s_1e5",
    "hub_outcome_cycles_per_s",
    "hub_fanout_ns_per_event",
    "class_10k_seconds",
    "timer_early_1e6",
    "timer_late_ms_p99_1e6",
    "flatness_1e3_1e7",
    "durable_cycles_per_s",
    "durable_cpu_us_per_record",
    "durable_ack_over_fdatasync_p50",
    "durable_ack_over_fdatasync_p99",
    "durable_busy_ack_ms_p99",
    "recover_seconds_1e6",
    "snapshot_hold_ms_max",
    "ws_cycles_per_cpu_s_depth1",
    "ws_cycles_per_cpu_s_depth8",
    "ws_vs_socketio_depth1",
    "ws_vs_socketio_depth8",
    "ws_fanout_events_per_cpu_s",
    "ws_kib_per_connection",
    "ws_durable_vs_memory_depth8",
)
FROM_FLOOR = tuple(name for name in NAMES if "_vs_floor" in name or name.startswith("flatness"))
FROM_LOAD = tuple(name for name in NAMES if name.startswith("ws_"))


def missing(figures: Mapping[str, float], *, has_floor: bool, has_load: bool) -> list[str]:
    """Return the names that a run of everything should have left, and has not.

    Args:
        figures: what was left.
        has_floor: whether `floor.c` compiles on this machine.
        has_load: whether `load.c` does.
    """
    excused = (() if has_floor else FROM_FLOOR) + (() if has_load else FROM_LOAD)
    return [name for name in NAMES if name not in figures and name not in excused]
