"""What a server allows and how long it waits: every setting, with its default and unit."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a server. One that makes no sense is a ValueError here.

    Attributes:
        login_s: how long a connection may take to log in, seconds.
        resume_window_s: how long a session is kept after its connection broke, seconds.
        history_max: messages kept for a client that comes back; of one that has missed more, the
            session is logged in anew.
        history_s: how old such a message may be, seconds.
        waiting_max: messages that wait for a slow reader; one more closes its connection (4408).
            It is less than `history_max`, so that the client can come back for them, and for what
            was on its way.
        waiting_bytes_max: the same in bytes.
        frame_bytes_max: the size of a frame that is taken, bytes.
        login_frame_bytes_max: the same before the login.
        waits_max: outcomes, followings and the like that one connection may wait for (7008).
        ping_s: after how much silence a ping is sent, seconds.
        dead_s: after how much silence a connection is given up, seconds.
        close_s: how long the other side may take to answer a close, seconds.
        bad_messages_max: texts that are no request, a minute; one more closes the connection.
    """

    login_s: float = 5.0
    resume_window_s: float = 60.0
    history_max: int = 1024
    history_s: float = 120.0
    waiting_max: int = 512
    waiting_bytes_max: int = 1 << 20
    frame_bytes_max: int = 2 << 20
    login_frame_bytes_max: int = 4096
    waits_max: int = 4096
    ping_s: float = 25.0
    dead_s: float = 60.0
    close_s: float = 5.0
    bad_messages_max: int = 20

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            kind = float if setting.name.endswith("_s") else int
            if isinstance(value, bool) or not isinstance(value, (int, kind)):
                raise ValueError(f"{setting.name}: {kind.__name__} is needed, not {value!r}")
            if not 0 < value < 1 << 40:
                raise ValueError(f"{setting.name}: more than 0 is needed, not {value!r}")
        if self.dead_s <= self.ping_s:
            raise ValueError("dead_s: more than ping_s is needed, or nobody answers in time")
