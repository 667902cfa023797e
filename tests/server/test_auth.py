"""A token lets in whom it was made for, as long as it says; nothing else does, and nothing raises.

The UserSig below was put together outside of pysignal, its signature by `openssl dgst -hmac`; the
JWT is the one of RFC 7515, appendix A.1.
"""

from __future__ import annotations

import base64
import json
import random
import zlib
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from scale import scaled

from pysignal.errors import (
    TokenExpired,
    TokenMalformed,
    TokenOfOtherApp,
    TokenOfOtherUser,
    TokenRefused,
    TokenSignatureWrong,
)
from pysignal.server.auth import (
    TOKEN_SIZE_MAX,
    AnyOf,
    Identity,
    JwtAuthenticator,
    UserSigAuthenticator,
    sign_jwt,
    sign_user_sig,
)

NOW_MS = 1_700_000_000_000
NOW_S = NOW_MS // 1000
KEY = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"
OTHER_KEY = "x" * 64
APP = 1_400_000_000
CLAIMS = {"sub": "bob", "exp": NOW_S + 60, "aud": "calls", "iss": "app"}

USER_SIG = (
    "eJyrVgrxCdYrSy1SslJQMtIzUNJRAItkpqTmlWSmZUIkKjIT87NK82CSxSnZiQUFmSlAKUMTAyiAyqVWFGQWpYJkTE1N"
    "jRDiJZm5YFFzNPXFmekgG3zKHM1T9D3LzdODi-OKs8vCqpxcAvydnV2SSv2cy03cPcpDnA2SMgu0nUxslWoBHdYzUg__"
)
RFC_KEY = base64.urlsafe_b64decode(
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow=="
)
RFC_JWT = (
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0"
    "cnVlfQ"
    ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)


def a_jwt(key: str | bytes = KEY, algorithm: str = "HS256", **claims: Any) -> str:
    """Return a JWT with these claims instead of its own; None leaves one out."""
    told = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    return jwt.encode(told, key, algorithm)


def a_user_sig(key: str = KEY, **fields: Any) -> str:
    """Return a UserSig with these fields instead of its own, signed as it then is."""
    token = sign_user_sig("bob", APP, key, NOW_MS, valid_s=60)
    told = unpacked(token) | {f"TLS.{name}": value for name, value in fields.items()}
    return packed({name: value for name, value in told.items() if value is not None})


def unpacked(token: str) -> dict[str, Any]:
    packed = base64.b64decode(token.translate(str.maketrans("*-_", "+/=")))
    told: dict[str, Any] = json.loads(zlib.decompress(packed))
    return told


def packed(told: Any) -> str:
    written = told if isinstance(told, bytes) else json.dumps(told).encode()
    text = base64.b64encode(zlib.compress(written)).decode()
    return text.translate(str.maketrans("+/=", "*-_"))


def jwts(**options: Any) -> JwtAuthenticator:
    return JwtAuthenticator(KEY, audience="calls", issuer="app", **options)


def user_sigs() -> UserSigAuthenticator:
    return UserSigAuthenticator(APP, KEY)


# -- JWT -------------------------------------------------------------------------------------------


def test_a_jwt_lets_its_user_in_until_it_expires() -> None:
    identity = Identity("bob", (NOW_S + 60) * 1000)
    assert jwts().authenticate("bob", a_jwt(), NOW_MS) == identity
    assert jwts().authenticate("bob", a_jwt(), NOW_MS + 59_999) == identity
    with pytest.raises(TokenExpired) as caught:
        jwts().authenticate("bob", a_jwt(), NOW_MS + 60_000)
    assert caught.value.details == {"expired_ms": NOW_MS + 60_000, "now_ms": NOW_MS + 60_000}


def test_leeway_is_given_after_the_end_and_before_the_beginning() -> None:
    one = jwts(leeway_s=2.5)
    assert one.authenticate("bob", a_jwt(), NOW_MS + 62_499).expires_ms == NOW_MS + 62_500
    with pytest.raises(TokenExpired):
        one.authenticate("bob", a_jwt(), NOW_MS + 62_500)
    one.authenticate("bob", a_jwt(nbf=NOW_S + 2), NOW_MS)
    with pytest.raises(TokenExpired, match="not valid yet"):
        one.authenticate("bob", a_jwt(nbf=NOW_S + 3), NOW_MS)


def test_a_signature_of_the_standard_is_recognized() -> None:
    with pytest.raises(TokenMalformed, match="no `sub`"):
        JwtAuthenticator(RFC_KEY).authenticate("joe", RFC_JWT, 0)
    with pytest.raises(TokenSignatureWrong):
        JwtAuthenticator(RFC_KEY[:-1] + b"x").authenticate("joe", RFC_JWT, 0)


@pytest.mark.parametrize(
    ("claims", "refusal"),
    [
        ({"sub": None}, TokenMalformed),
        ({"sub": 5}, TokenMalformed),
        ({"sub": ["bob"]}, TokenMalformed),
        ({"sub": "Bob"}, TokenOfOtherUser),
        ({"sub": "bob "}, TokenOfOtherUser),
        ({"sub": ""}, TokenOfOtherUser),
        ({"aud": None}, TokenOfOtherApp),
        ({"aud": "others"}, TokenOfOtherApp),
        ({"aud": ["others"]}, TokenOfOtherApp),
        ({"aud": [["calls"]]}, TokenOfOtherApp),
        ({"aud": {"calls": 1}}, TokenOfOtherApp),
        ({"iss": None}, TokenOfOtherApp),
        ({"iss": "other"}, TokenOfOtherApp),
        ({"exp": None}, TokenMalformed),
        ({"exp": str(NOW_S + 60)}, TokenMalformed),
        ({"exp": True}, TokenMalformed),
        ({"exp": NOW_MS + 60_000}, TokenMalformed),
        ({"exp": 10**400}, TokenMalformed),
        ({"exp": float("nan")}, TokenMalformed),
        ({"exp": float("inf")}, TokenMalformed),
        ({"exp": -1}, TokenMalformed),
        ({"exp": 0}, TokenExpired),
        ({"exp": NOW_S}, TokenExpired),
        ({"nbf": NOW_S + 1}, TokenExpired),
        ({"nbf": "now"}, TokenMalformed),
    ],
)
def test_each_wrong_claim_is_refused(claims: dict[str, Any], refusal: type[TokenRefused]) -> None:
    with pytest.raises(TokenRefused) as caught:
        jwts().authenticate("bob", a_jwt(**claims), NOW_MS)
    assert type(caught.value) is refusal


@pytest.mark.parametrize(
    "claims",
    [{"aud": ["others", "calls"]}, {"exp": NOW_S + 0.5}, {"nbf": NOW_S}, {"iat": "x"}, {"jti": 5}],
)
def test_what_is_right_or_does_not_count_is_accepted(claims: dict[str, Any]) -> None:
    encoded = jwt.PyJWS().encode(json.dumps(CLAIMS | claims).encode(), KEY, "HS256")
    jwts().authenticate("bob", encoded, NOW_MS)


def test_an_unsigned_token_is_refused() -> None:
    for algorithm in ("none", "None", "NONE", "nOnE"):
        head = json.dumps({"alg": algorithm, "typ": "JWT"}).encode()
        body = json.dumps(CLAIMS).encode()
        parts = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (head, body)]
        for signature in ("", "AAAA"):
            with pytest.raises(TokenSignatureWrong):
                jwts().authenticate("bob", ".".join([*parts, signature]), NOW_MS)


def test_only_algorithms_of_the_list_are_accepted() -> None:
    for algorithm in ("HS384", "HS512"):
        token = a_jwt(algorithm=algorithm)
        with pytest.raises(TokenSignatureWrong, match="not signed by HS256"):
            jwts().authenticate("bob", token, NOW_MS)
        jwts(algorithms=["HS256", algorithm]).authenticate("bob", token, NOW_MS)
    for wrong in (["none"], ["HS256", "RS256"], ["ES256"], [], "HS256", ["hs256"]):
        with pytest.raises(ValueError, match="algorithms: some of HS256"):
            jwts(algorithms=wrong)
    with pytest.raises(ValueError, match="algorithms"):
        sign_jwt("bob", KEY, NOW_MS, algorithm="none")


def test_a_public_key_is_no_key_of_hmac() -> None:
    pem = "-----BEGIN PUBLIC KEY-----\n" + "A" * 64 + "\n-----END PUBLIC KEY-----\n"
    for key in (pem, "\n" + pem, pem.encode(), "ssh-rsa " + "A" * 64):
        with pytest.raises(ValueError, match="a key pair's key"):
            JwtAuthenticator(key)


def test_any_of_several_keys_will_do_while_one_replaces_another() -> None:
    both = JwtAuthenticator([KEY, OTHER_KEY.encode()])
    for key in (KEY, OTHER_KEY):
        assert both.authenticate("bob", a_jwt(key), NOW_MS).user_id == "bob"
    with pytest.raises(TokenSignatureWrong):
        both.authenticate("bob", a_jwt("y" * 64), NOW_MS)


def test_a_weak_key_is_refused_with_what_makes_a_strong_one() -> None:
    makers: list[Callable[[str], object]] = [
        JwtAuthenticator,
        lambda key: JwtAuthenticator([KEY, key]),
        lambda key: UserSigAuthenticator(APP, key),
        lambda key: sign_jwt("bob", key, NOW_MS),
        lambda key: sign_user_sig("bob", APP, key, NOW_MS),
    ]
    for make in makers:
        make("k" * 32)
        for key in ("", "secret", "k" * 31):
            with pytest.raises(ValueError, match=f"{len(key)} bytes is too short.*openssl rand"):
                make(key)
    with pytest.raises(ValueError, match="openssl rand -hex 64"):
        JwtAuthenticator("k" * 63, algorithms=["HS512"])
    with pytest.raises(ValueError, match="a key is needed"):
        JwtAuthenticator([])


@pytest.mark.parametrize("leeway_s", [-1, float("nan"), 100_000])
def test_a_leeway_that_makes_no_sense_is_refused(leeway_s: float) -> None:
    with pytest.raises(ValueError, match="leeway_s"):
        jwts(leeway_s=leeway_s)


def test_what_is_signed_here_is_believed_here() -> None:
    for user in ("bob", "ü 漢 \U0001f600", 'a"b\\'):
        token = sign_jwt(user, KEY, NOW_MS + 999, valid_s=60, audience="calls", issuer="app")
        assert jwts().authenticate(user, token, NOW_MS) == Identity(user, NOW_MS + 60_000)
        sig = sign_user_sig(user, APP, KEY, NOW_MS + 999, valid_s=60, user_buf=b"\x00\xff")
        assert user_sigs().authenticate(user, sig, NOW_MS) == Identity(user, NOW_MS + 60_000)


# -- UserSig ---------------------------------------------------------------------------------------


def test_a_user_sig_of_others_is_believed() -> None:
    expires_ms = NOW_MS + 180 * 86_400_000
    assert user_sigs().authenticate("xiaojun", USER_SIG, NOW_MS) == Identity("xiaojun", expires_ms)
    assert unpacked(USER_SIG)["TLS.sig"] == "LvA7d/Iw7gSsnskvVzBDPOCCDbuNCw4GHwTC0bip+B4="
    made = sign_user_sig("xiaojun", APP, KEY, NOW_MS, valid_s=180 * 86_400)
    assert unpacked(made) == unpacked(USER_SIG)
    with pytest.raises(TokenExpired):
        user_sigs().authenticate("xiaojun", USER_SIG, expires_ms)
    with pytest.raises(TokenOfOtherUser):
        user_sigs().authenticate("bob", USER_SIG, NOW_MS)
    with pytest.raises(TokenOfOtherApp):
        UserSigAuthenticator(APP + 1, KEY).authenticate("xiaojun", USER_SIG, NOW_MS)
    with pytest.raises(TokenSignatureWrong):
        UserSigAuthenticator(APP, OTHER_KEY).authenticate("xiaojun", USER_SIG, NOW_MS)


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"identifier": "eve"}, TokenSignatureWrong),
        ({"identifier": "bob\nTLS.sdkappid:1"}, TokenMalformed),
        ({"identifier": 5}, TokenMalformed),
        ({"identifier": None}, TokenMalformed),
        ({"identifier": "\ud800"}, TokenSignatureWrong),
        ({"sdkappid": APP + 1}, TokenOfOtherApp),
        ({"sdkappid": str(APP)}, TokenMalformed),
        ({"sdkappid": True}, TokenMalformed),
        ({"sdkappid": None}, TokenMalformed),
        ({"time": NOW_S + 1}, TokenSignatureWrong),
        ({"time": float(NOW_S)}, TokenMalformed),
        ({"time": -1}, TokenMalformed),
        ({"expire": 10**9}, TokenSignatureWrong),
        ({"expire": 10**40}, TokenMalformed),
        ({"expire": None}, TokenMalformed),
        ({"userbuf": "AAAA"}, TokenSignatureWrong),
        ({"userbuf": 5}, TokenMalformed),
        ({"userbuf": "A\nB"}, TokenMalformed),
        ({"sig": ""}, TokenSignatureWrong),
        ({"sig": "AAAA"}, TokenSignatureWrong),
        ({"sig": "é"}, TokenMalformed),
        ({"sig": 5}, TokenMalformed),
        ({"sig": None}, TokenMalformed),
        ({"ver": "1.0"}, TokenMalformed),
        ({"ver": None}, TokenMalformed),
    ],
)
def test_each_changed_field_is_refused(fields: dict[str, Any], refusal: type[TokenRefused]) -> None:
    with pytest.raises(TokenRefused) as caught:
        user_sigs().authenticate("bob", a_user_sig(**fields), NOW_MS)
    assert type(caught.value) is refusal


def test_a_user_sig_unpacks_to_no_more_than_its_bound() -> None:
    bomb = packed(b'{"TLS.ver":"' + b" " * 4_000_000 + b'"}')
    assert len(bomb) < TOKEN_SIZE_MAX
    with pytest.raises(TokenMalformed):
        user_sigs().authenticate("bob", bomb, NOW_MS)


@pytest.mark.parametrize("app", [0, -1, True, "1400000000", 1.5])
def test_an_application_is_a_whole_number(app: Any) -> None:
    with pytest.raises(ValueError, match="sdk_app_id"):
        UserSigAuthenticator(app, KEY)


# -- both ------------------------------------------------------------------------------------------


def test_any_of_several_kinds_of_tokens_will_do() -> None:
    both = AnyOf(jwts(), user_sigs())
    assert both.authenticate("bob", a_jwt(), NOW_MS).user_id == "bob"
    assert both.authenticate("bob", a_user_sig(), NOW_MS).user_id == "bob"
    for token, refusal in [
        (a_jwt(exp=NOW_S), TokenExpired),
        (a_jwt(sub="eve"), TokenOfOtherUser),
        (a_jwt(OTHER_KEY), TokenSignatureWrong),
        (a_user_sig(sdkappid=1), TokenOfOtherApp),
        (a_user_sig(sig="AAAA"), TokenSignatureWrong),
        ("nothing", TokenMalformed),
    ]:
        with pytest.raises(TokenRefused) as caught:
            both.authenticate("bob", token, NOW_MS)
        assert type(caught.value) is refusal
    with pytest.raises(ValueError, match="at least one"):
        AnyOf()


@pytest.mark.parametrize(
    "token",
    [
        "", ".", "..", "...", "a.b.c", "\x00", "é", "\ud800", "eyJ", "_" * 8, "A" * 8,
        "x" * (TOKEN_SIZE_MAX + 1), "[" * 3000,
        base64.urlsafe_b64encode(b"[" * 3000).decode() + ".e30.AAAA",
        base64.urlsafe_b64encode(b'{"alg":"HS256","x":' + b"[" * 3000).decode() + ".e30.AAAA",
        base64.urlsafe_b64encode(b'{"alg":"HS256","crit":["exp"]}').decode() + ".e30.AAAA",
        base64.urlsafe_b64encode(b'{"alg":"HS256","b64":false}').decode() + ".e30.AAAA",
        base64.urlsafe_b64encode(b'{"alg":5,"kid":{}}').decode() + ".e30.AAAA",
        base64.urlsafe_b64encode(b"5").decode() + ".e30.AAAA",
        base64.urlsafe_b64encode(b'{"alg":"HS256","x":%s}' % (b"9" * 5000)).decode() + ".e30.AAAA",
        packed(b"[" * 5000), packed([]), packed({}), packed(5), packed(b"\xff"), packed(b""),
    ],
    ids=lambda token: ascii(token[:20]),
)  # fmt: skip
def test_what_is_no_token_is_refused(token: str) -> None:
    for one in (jwts(), user_sigs(), AnyOf(user_sigs(), jwts())):
        with pytest.raises(TokenRefused):
            one.authenticate("bob", token, NOW_MS)


def test_no_change_of_a_token_lets_anybody_in_or_raises_anything_else() -> None:
    tokens = [a_jwt(), a_user_sig(), sign_user_sig("bob", APP, KEY, NOW_MS, user_buf=b"x")]
    both = AnyOf(jwts(), user_sigs())
    letters = "ABCabc019-_*.=+/ é\x00\ud800"
    meanings = [meaning(token) for token in tokens]
    for seed in range(scaled(10_000, at_least=1_000)):
        source = random.Random(seed)
        token = source.choice(tokens)
        start = source.randrange(len(token))
        end = start + source.choice([0, 1, 1, 3])
        changed = token[:start] + "".join(source.choices(letters, k=source.choice([0, 1, 2])))
        changed += token[end:]
        try:
            identity = both.authenticate("bob", changed, NOW_MS)
        except TokenRefused:
            continue
        except Exception as error:
            raise AssertionError(f"seed {seed}: {changed!r}") from error
        # The same bytes can be written in more than one way.
        assert identity.user_id == "bob"
        assert meaning(changed) in meanings, f"seed {seed}: {changed!r}"


def meaning(token: str) -> Any:
    """Return what a token says, however it was written."""
    parts = token.split(".")
    if len(parts) == 1:
        return unpacked(token)
    return [base64.urlsafe_b64decode(part + "==") for part in parts]


def test_a_changed_text_inside_a_user_sig_is_never_believed() -> None:
    whole = json.dumps(unpacked(a_user_sig())).encode()
    for seed in range(scaled(5_000, at_least=500)):
        source = random.Random(seed)
        at = source.randrange(len(whole))
        changed = (
            whole[:at] + source.choice([b"", b"0", b'"', b"\n", b"}", b"\xff"]) + whole[at + 1 :]
        )
        if changed == whole:
            continue
        try:
            user_sigs().authenticate("bob", packed(changed), NOW_MS)
        except TokenRefused:
            continue
        told = json.loads(changed)
        assert told == json.loads(whole), f"seed {seed}: {changed!r}"
