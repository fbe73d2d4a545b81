"""Addresses that are posted to and the keys that sign: what may be written, by whichever section has them."""

import base64
from pathlib import Path

import pytest

from gateway.config.document import parse_document
from gateway.config.outbound import read_keys, read_url
from gateway.config.section import Section

KEY = base64.b64encode(bytes(range(24))).decode()


def section(tmp_path: Path, text: str) -> Section:
    document = parse_document(text, tmp_path / "holdgate.yaml", {})
    return Section(document, document.value, ())


@pytest.mark.parametrize(
    "url", ["https://a.example/x?y=1", "http://127.0.0.1:8080/", "http://[::1]/", "http://localhost/x"]
)
def test_an_address(tmp_path: Path, url: str) -> None:
    part = section(tmp_path, f"url: '{url}'")
    assert read_url(part, "url", "https://b.example") == url
    assert part.document.problems == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "is missing; for example url: https://b.example"),
        ("url: http://a.example/s3cret", "must be an https address"),
        ("url: https://a:s3cret@a.example", "expected an address such as https://b.example"),
        ("url: 'https://a.example/s3cret x'", "expected an address such as https://b.example"),
        ("url: https://a.example/#s3cret", "expected an address such as https://b.example"),
        ("url: https://ä.example/s3cret", "expected an address such as https://b.example"),
        ("url: 'https://a.example:0/s3cret'", "expected an address such as https://b.example"),
        ("url: file:nothing", "cannot read"),
    ],
)
def test_what_is_none(tmp_path: Path, text: str, says: str) -> None:
    part = section(tmp_path, text)
    read_url(part, "url", "https://b.example")
    (problem,) = part.document.problems
    assert problem.message.startswith(says)
    assert "s3cret" not in problem.message


def test_keys(tmp_path: Path) -> None:
    assert read_keys(section(tmp_path, f"secret: whsec_{KEY} {KEY}"), "SECRET") == (bytes(range(24)),) * 2
    part = section(tmp_path, "{}")
    assert read_keys(part, "HOOK_SECRET") == ()
    assert "secret: ${HOOK_SECRET}" in part.document.problems[0].message


@pytest.mark.parametrize("secret", ["whsec_AAAA", "s3cret!", "whsec_" + "A" * 120])
def test_what_is_no_key(tmp_path: Path, secret: str) -> None:
    part = section(tmp_path, f"secret: {secret}")
    assert read_keys(part, "SECRET") == ()
    (problem,) = part.document.problems
    assert problem.message.startswith("expected whsec_ and 24 to 64 bytes in base64")
    assert secret not in problem.message
