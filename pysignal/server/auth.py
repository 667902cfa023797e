"""Who is who: tokens that somebody else has signed, checked without asking anybody.

The application's own server knows its users; it signs a token for one, and this server, which has
the key, believes it. What a token says beyond that is only who it is for and until when. A token is
a text from outside: its size is bounded before it is looked at, what unpacks is bounded too, and
whatever is wrong with it is a `TokenRefused`, nothing else. Time is an argument, so that tests and
simulations own it.
"""

from __future__ import annotations

import hmac
import json
import math
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import jwt

from pysignal.errors import (
    TokenExpired,
    TokenMalformed,
    TokenOfOtherApp,
    TokenOfOtherUser,
    TokenRefused,
    TokenSignatureWrong,
)

# Characters of a token, and bytes that a UserSig may unpack to.
TOKEN_SIZE_MAX: Final = 8192
UNPACKED_BYTES_MAX: Final = 8192

KEY_BYTES_MIN: Final = 32
DAY_S: Final = 86_400

# Symmetric ones alone: a key that signs and checks can be mistaken for no public key.
ALGORITHMS: Final = ("HS256", "HS384", "HS512")

# Seconds since the epoch that are in this millennium still; milliseconds are not.
_TIME_S_MAX: Final = 32_503_680_000

_USER_SIG_VERSION: Final = "2.0"
_FROM_URL: Final = str.maketrans("*-_", "+/=")
_TO_URL: Final = str.maketrans("+/=", "*-_")

# PyJWT checks the signature; claims are checked here, against the time that is given.
_NO_CLAIMS: Final[Any] = {
    f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has logged in.

    Attributes:
        user_id: the user.
        expires_ms: when the token ends, ms since the epoch; None for never.
    """

    user_id: str
    expires_ms: int | None


class Authenticator(Protocol):
    """Says who somebody is. It is called from the event loop and must not wait."""

    def authenticate(self, user_id: str, token: str, now_ms: int) -> Identity:
        """Return who somebody is who says to be a user.

        Args:
            user_id: the user, as the client says.
            token: the proof, as the client says.
            now_ms: ms since the epoch.

        Raises:
            TokenRefused: the token is no proof of it.
        """


class JwtAuthenticator:
    """Believes JWTs (RFC 7519) that are signed with a key that both sides know.

    `sub` is the user, and `exp` is required, seconds since the epoch; `nbf` counts where it is
    there. Other claims are passed over.

    Args:
        key: of 32 bytes or more (RFC 7518 §3.2); several while one is replaced by another.
        audience: what `aud` must be or hold; None for anything.
        issuer: what `iss` must be; None for anything.
        algorithms: which a token may be signed by, of `ALGORITHMS`.
        leeway_s: for how long after its end a token is still taken, and before its `nbf`, seconds.

    Raises:
        ValueError: a key that is too short or no key for HMAC, or an algorithm of another kind.
    """

    def __init__(
        self,
        key: str | bytes | Sequence[str | bytes],
        *,
        audience: str | None = None,
        issuer: str | None = None,
        algorithms: Sequence[str] = ("HS256",),
        leeway_s: float = 0,
    ) -> None:
        self._algorithms = _allowed(algorithms)
        keys = [key] if isinstance(key, str | bytes) else list(key)
        self._keys = [_strong(each, algorithm) for each in keys for algorithm in self._algorithms]
        if not self._keys:
            raise ValueError("a key is needed: `openssl rand -hex 32` makes one")
        self._keys = list(dict.fromkeys(self._keys))
        self._audience = audience
        self._issuer = issuer
        self._leeway_ms = _milliseconds(leeway_s)
        self._decoder = jwt.PyJWT()

    def authenticate(self, user_id: str, token: str, now_ms: int) -> Identity:
        """See `Authenticator.authenticate`."""
        claims = self._claims(_bounded(token))
        subject = claims.get("sub")
        if not isinstance(subject, str):
            raise TokenMalformed("the token has no `sub`, the user whom it is for, as a string")
        if subject != user_id:
            raise TokenOfOtherUser("the token's `sub` is another user: get one for this user")
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if self._audience is not None and self._audience not in audiences:
            raise TokenOfOtherApp("the token's `aud` is not this application")
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise TokenOfOtherApp("the token's `iss` is not whom this server believes")
        expires_ms = _claimed_ms(claims, "exp") + self._leeway_ms
        if "nbf" in claims and now_ms < _claimed_ms(claims, "nbf") - self._leeway_ms:
            raise TokenExpired(
                "the token is not valid yet: see whether its signer's clock is right"
            )
        return _valid(user_id, expires_ms, now_ms)

    def _claims(self, token: str) -> dict[str, Any]:
        for key in self._keys:
            try:
                return self._decoder.decode(
                    token, key, algorithms=self._algorithms, options=_NO_CLAIMS
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.InvalidAlgorithmError:
                raise TokenSignatureWrong(
                    f"the token is not signed by {' or '.join(self._algorithms)}"
                ) from None
            # A header may hold whatever makes a parser give up, by an error of any kind.
            except Exception:
                raise TokenMalformed("the text is no JWT: see whether it was cut") from None
        raise TokenSignatureWrong("the token was signed with another key, or was changed since")


class UserSigAuthenticator:
    """Believes UserSigs of version 2.0 (TLSSigAPIv2), as Tencent's tools make them.

    Args:
        sdk_app_id: the application that they must be for, 1 or more.
        key: its secret key, of 32 bytes or more.

    Raises:
        ValueError: the key is too short, or the application is none.
    """

    def __init__(self, sdk_app_id: int, key: str) -> None:
        if type(sdk_app_id) is not int or sdk_app_id < 1:
            raise ValueError(f"sdk_app_id: a whole number from 1 is needed, not {sdk_app_id!r}")
        self._sdk_app_id = sdk_app_id
        self._key = _strong(key)

    def authenticate(self, user_id: str, token: str, now_ms: int) -> Identity:
        """See `Authenticator.authenticate`."""
        told = _UserSig.unpacked(_bounded(token))
        if told.sdk_app_id != self._sdk_app_id:
            raise TokenOfOtherApp("the UserSig is for another SDKAppID")
        if not hmac.compare_digest(told.signed(self._key), told.signature):
            raise TokenSignatureWrong("the UserSig was made with another key, or changed since")
        if told.identifier != user_id:
            raise TokenOfOtherUser("the UserSig is for another user: get one for this user")
        return _valid(user_id, (told.time_s + told.expire_s) * 1000, now_ms)


class AnyOf:
    """Believes what one of several authenticators believes.

    Where none does, it tells the error of the one that got furthest with the token.
    """

    def __init__(self, *authenticators: Authenticator) -> None:
        if not authenticators:
            raise ValueError("at least one authenticator is needed")
        self._authenticators = authenticators

    def authenticate(self, user_id: str, token: str, now_ms: int) -> Identity:
        """See `Authenticator.authenticate`."""
        refusals: list[TokenRefused] = []
        for each in self._authenticators:
            try:
                return each.authenticate(user_id, token, now_ms)
            except TokenRefused as refusal:
                refusals.append(refusal)
        raise max(refusals, key=_how_far)


def sign_jwt(
    user_id: str,
    key: str | bytes,
    now_ms: int,
    *,
    valid_s: int = DAY_S,
    audience: str | None = None,
    issuer: str | None = None,
    algorithm: str = "HS256",
) -> str:
    """Return a JWT that `JwtAuthenticator` believes.

    Args:
        user_id: the user whom it is for.
        key: of 32 bytes or more.
        now_ms: ms since the epoch.
        valid_s: for how long, seconds.
        audience: `aud`, None for none.
        issuer: `iss`, None for none.
        algorithm: one of `ALGORITHMS`.

    Raises:
        ValueError: the key is too short, or the algorithm is another one.
    """
    (algorithm,) = _allowed([algorithm])
    now_s = now_ms // 1000
    claims = {"sub": user_id, "iat": now_s, "exp": now_s + valid_s}
    if audience is not None:
        claims["aud"] = audience
    if issuer is not None:
        claims["iss"] = issuer
    return jwt.encode(claims, _strong(key, algorithm), algorithm)


def sign_user_sig(
    user_id: str,
    sdk_app_id: int,
    key: str,
    now_ms: int,
    *,
    valid_s: int = DAY_S,
    user_buf: bytes | None = None,
) -> str:
    """Return a UserSig that `UserSigAuthenticator` believes.

    Args:
        user_id: the user whom it is for.
        sdk_app_id: the application.
        key: its secret key.
        now_ms: ms since the epoch.
        valid_s: for how long, seconds.
        user_buf: what another service is told by it; None for nothing.
    """
    buffer = None if user_buf is None else b64encode(user_buf).decode()
    told = _UserSig(user_id, sdk_app_id, now_ms // 1000, valid_s, buffer)
    return told.packed(_strong(key))


@dataclass(frozen=True, slots=True)
class _UserSig:
    """What a UserSig says."""

    identifier: str
    sdk_app_id: int
    time_s: int
    expire_s: int
    user_buf: str | None
    signature: bytes = b""

    @classmethod
    def unpacked(cls, token: str) -> _UserSig:
        """Read a UserSig, unpack no more than is allowed, and check the type of each field."""
        try:
            packed = b64decode(token.translate(_FROM_URL), validate=True)
            unpacker = zlib.decompressobj()
            written = unpacker.decompress(packed, UNPACKED_BYTES_MAX)
            if not unpacker.eof or unpacker.unused_data:
                raise ValueError("it does not end where it should")
            told = json.loads(written)
            version, signature = told["TLS.ver"], told["TLS.sig"]
            buffer = told.get("TLS.userbuf")
            found = cls(
                told["TLS.identifier"], told["TLS.sdkappid"], told["TLS.time"], told["TLS.expire"],
                buffer, signature.encode("ascii"),
            )  # fmt: skip
        # As with a JWT: there is no end to how a text may be none.
        except Exception:
            raise TokenMalformed("the text is no UserSig: see whether it was cut") from None
        if version != _USER_SIG_VERSION:
            raise TokenMalformed(f"only UserSigs of version {_USER_SIG_VERSION} are known here")
        numbers = (found.sdk_app_id, found.time_s, found.expire_s)
        if not all(type(each) is int and 0 <= each <= _TIME_S_MAX for each in numbers):
            raise TokenMalformed("a number of the UserSig is none")
        texts = [found.identifier, "" if buffer is None else buffer]
        # A line break would let one field pass for two: lines are what is signed.
        if not all(isinstance(each, str) and "\n" not in each for each in texts):
            raise TokenMalformed("a text of the UserSig is none")
        return found

    def signed(self, key: bytes) -> bytes:
        """Return the signature that it should have."""
        lines = (
            f"TLS.identifier:{self.identifier}\nTLS.sdkappid:{self.sdk_app_id}\n"
            f"TLS.time:{self.time_s}\nTLS.expire:{self.expire_s}\n"
        )
        if self.user_buf is not None:
            lines += f"TLS.userbuf:{self.user_buf}\n"
        signed = lines.encode(errors="surrogatepass")
        return b64encode(hmac.digest(key, signed, "sha256"))

    def packed(self, key: bytes) -> str:
        """Return it as a text, with its signature."""
        told: dict[str, Any] = {
            "TLS.ver": _USER_SIG_VERSION,
            "TLS.identifier": self.identifier,
            "TLS.sdkappid": self.sdk_app_id,
            "TLS.expire": self.expire_s,
            "TLS.time": self.time_s,
            "TLS.sig": self.signed(key).decode(),
        }
        if self.user_buf is not None:
            told["TLS.userbuf"] = self.user_buf
        return b64encode(zlib.compress(json.dumps(told).encode())).decode().translate(_TO_URL)


def _bounded(token: str) -> str:
    if not token:
        raise TokenMalformed("the token is empty")
    if len(token) > TOKEN_SIZE_MAX:
        raise TokenMalformed(f"the token is longer than {TOKEN_SIZE_MAX} characters")
    return token


def _claimed_ms(claims: dict[str, Any], name: str) -> int:
    """Return a time that a JWT claims, ms since the epoch."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenMalformed(f"the token has no `{name}`, seconds since the epoch as a number")
    if not 0 <= value <= _TIME_S_MAX:  # neither is NaN
        raise TokenMalformed(f"the token's `{name}` is no time: it counts seconds since the epoch")
    return math.floor(value * 1000)


def _valid(user_id: str, expires_ms: int, now_ms: int) -> Identity:
    if expires_ms <= now_ms:
        raise TokenExpired(
            "the token has expired: log in with a fresh one", expired_ms=expires_ms, now_ms=now_ms
        )
    return Identity(user_id, expires_ms)


def _allowed(algorithms: Sequence[str]) -> list[str]:
    wrong = [each for each in algorithms if each not in ALGORITHMS]
    if isinstance(algorithms, str) or wrong or not algorithms:
        raise ValueError(f"algorithms: some of {', '.join(ALGORITHMS)}, not {algorithms!r}")
    return list(algorithms)


def _strong(key: str | bytes, algorithm: str = "HS256") -> bytes:
    """Return a key as bytes, if it is long enough for an algorithm and is not a public one."""
    written = key.encode() if isinstance(key, str) else bytes(key)
    needed = max(KEY_BYTES_MIN, int(algorithm[2:]) // 8)
    if len(written) < needed:
        raise ValueError(
            f"a key of {len(written)} bytes is too short, {algorithm} needs {needed} or more: "
            f"`openssl rand -hex {needed}` makes one"
        )
    if written.lstrip().startswith((b"-----BEGIN ", b"ssh-", b"ecdsa-")):
        raise ValueError("this is a key pair's key, and not one for HMAC, which is a shared secret")
    return written


def _milliseconds(seconds: float) -> int:
    if not 0 <= seconds <= DAY_S:
        raise ValueError(f"leeway_s: 0 to {DAY_S} seconds, not {seconds!r}")
    return round(seconds * 1000)


def _how_far(refusal: TokenRefused) -> int:
    """Return how far a token got: it was read, its signature was right, it was for this one."""
    order = (TokenMalformed, TokenSignatureWrong, TokenOfOtherApp, TokenOfOtherUser, TokenExpired)
    return order.index(type(refusal)) if type(refusal) in order else len(order)
