"""What is accepted over the management port, and what goes out."""

import dataclasses

import pytest
from pydantic import BaseModel, ValidationError

from gateway.api import schemas
from gateway.api.schemas import ApproveIn, CheckIn, HoldOut, RejectIn, TokenIn, TokenOut
from gateway.store import Hold, TokenRecord
from tests.gateway.store.samples import hold, token


def test_a_hold_goes_out_whole() -> None:
    asked = {"cannot_decide": None, "yours": False}
    assert HoldOut.model_validate(hold().to_dict() | asked).model_dump() == hold().to_dict() | asked
    # Everything but which process it belongs to, all of its groups once more, what comes of its margin, and what
    # it is to whoever asks.
    fields = {field.name for field in dataclasses.fields(Hold)}
    followed = {"approval_groups", "break_glass", "max_rows", "proposed_rows", "use_by"}
    assert set(HoldOut.model_fields) == fields - {"instance", "margin"} | followed | asked.keys()


def test_a_token_goes_out_without_what_it_does_not_need() -> None:
    shown = TokenOut.model_validate(token().to_dict()).model_dump()
    assert shown == token().to_dict()
    assert set(shown) == {field.name for field in dataclasses.fields(TokenRecord)} - {"person"}


@pytest.mark.parametrize("text", ["a\x1bb", "\0", "\x7f", "\x9b", "\r"])
def test_names_speak_to_no_terminal(text: str) -> None:
    for model, values in (
        (TokenIn, {"user": text, "roles": ["viewer"]}),
        (TokenIn, {"user": "a", "roles": ["viewer"], "note": text}),
        (CheckIn, {"sql": "SELECT 1", "user": text}),
    ):
        with pytest.raises(ValidationError, match="control characters are not accepted"):
            model.model_validate(values)


def test_names_lose_their_outer_white_space_only() -> None:
    made = TokenIn.model_validate({"user": " a b ", "roles": ["viewer"], "note": "two\nlines\t"})
    assert (made.user, made.note) == ("a b", "two\nlines")


@pytest.mark.parametrize(
    "model",
    [each for each in vars(schemas).values() if isinstance(each, type) and issubclass(each, BaseModel)],
)
def test_every_model_says_what_it_is(model: type[BaseModel]) -> None:
    assert model.__doc__
    if model.__name__.endswith("In"):
        assert model.model_config["extra"] == "forbid"


def test_an_approval_needs_no_reason_and_a_rejection_does() -> None:
    assert ApproveIn().reason == ""
    with pytest.raises(ValidationError):
        RejectIn.model_validate({})
