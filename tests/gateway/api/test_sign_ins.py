"""What all ways of signing in share."""

import pytest
from starlette.requests import Request

from gateway.api.sign_ins import address_of, page


@pytest.mark.parametrize(("client", "address"), [(("10.0.0.7", 4711), "10.0.0.7"), (None, "local")])
def test_where_a_request_comes_from(client: tuple[str, int] | None, address: str) -> None:
    assert address_of(Request({"type": "http", "client": client})) == address


def test_a_page_around_a_message() -> None:
    answer = page("<p role='alert'>no</p>", 403)
    assert answer.status_code == 403
    assert b"<h1>Holdgate</h1>\n<p role='alert'>no</p>\n</main>" in bytes(answer.body)
