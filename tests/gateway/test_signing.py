"""Signatures, by the example that the specification's own libraries are tested with."""

import base64

from gateway.signing import signature, signed_headers


def test_the_published_example() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_each_key_signs() -> None:
    headers = signed_headers([b"a" * 24, b"b" * 24], "msg_1", 7, b"{}")
    assert headers["webhook-id"] == "msg_1"
    assert headers["webhook-timestamp"] == "7"
    assert headers["webhook-signature"].split(" ") == [
        signature(key * 24, "msg_1", 7, b"{}") for key in (b"a", b"b")
    ]
