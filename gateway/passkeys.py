"""Passkeys: keys in people's own authenticators, with which they sign what they approve.

Each challenge is remembered in the store and good once, over all gateways. Source: Web Authentication Level 2.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webauthn.helpers.options_to_json_dict import options_to_json_dict
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from gateway.clock import SYSTEM_CLOCK, Clock
from gateway.config import Config, passkey_host
from gateway.passkey_proof import (
    ProofInvalid,
    Signed,
    challenge_for,
    check_approval,
    check_confirmation,
    digest_of,
    read_proof,
)
from gateway.step_up import StepUpFailed
from gateway.store import Hold, PasskeyRecord, PasskeyStore

__all__ = ["NoPasskey", "NoPasskeysHere", "Passkeys"]

CHALLENGE_LIFETIME: Final = timedelta(minutes=5)
PASSKEYS_PER_USER: Final = 20


class NoPasskey(StepUpFailed):
    """There is no passkey to ask for."""


class NoPasskeysHere(Exception):
    """``admin.public_url`` does not name a host for which browsers make passkeys."""


class Passkeys:
    """The passkeys. Methods raise ``StoreUnavailable`` when the store does not answer, and :class:`NoPasskeysHere`."""

    def __init__(
        self, store: PasskeyStore, config: Callable[[], Config], *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._store = store
        self._config = config
        self._clock = clock

    async def list(self, user: str) -> Sequence[PasskeyRecord]:
        """Those of ``user``, oldest first."""
        return await self._store.passkeys(user)

    # Registering

    async def begin(self, user: str) -> dict[str, Any]:
        """What a browser needs to make a new passkey for ``user`` (PublicKeyCredentialCreationOptionsJSON)."""
        rp_id, _ = self._here()
        options = generate_registration_options(
            rp_id=rp_id,
            rp_name="Holdgate",
            user_name=user,
            user_id=hashlib.sha256(f"holdgate user {user}".encode("utf-8", "backslashreplace")).digest(),
            challenge=await self._challenge("register", user),
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.PREFERRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=_descriptors(await self._store.passkeys(user)),
        )
        return options_to_json_dict(options)

    async def finish(self, user: str, label: str, credential: Mapping[str, Any]) -> PasskeyRecord:
        """Keep the passkey that a browser made (RegistrationResponseJSON). Raises :class:`StepUpFailed`."""
        rp_id, origin = self._here()
        try:
            challenge = _challenge_in(credential)
            verified = verify_registration_response(
                credential=dict(credential),
                expected_challenge=challenge,
                expected_rp_id=rp_id,
                expected_origin=origin,
                require_user_verification=True,
            )
        except Exception as error:
            # The library has many words for it, and not only its own: all of it was sent by a stranger.
            raise StepUpFailed(f"the passkey is not accepted: {error}"[:200]) from None
        await self._used_up(challenge, user, "register")
        if len(await self._store.passkeys(user)) >= PASSKEYS_PER_USER:
            raise StepUpFailed(f"{PASSKEYS_PER_USER} passkeys are enough; remove one first")
        record = PasskeyRecord(
            id=bytes_to_base64url(verified.credential_id),
            user=user,
            public_key=bytes_to_base64url(verified.credential_public_key),
            sign_count=verified.sign_count,
            label=label,
            created_at=self._clock.now(),
        )
        if not await self._store.add_passkey(record):
            raise StepUpFailed("this passkey is known already")
        return record

    async def remove(self, user: str, passkey_id: str) -> bool:
        """Forget one of ``user``. False: there is none with this id."""
        return await self._store.remove_passkey(user, passkey_id)

    # Signing

    async def approval_options(self, user: str, hold: Hold) -> dict[str, Any]:
        """What a browser needs to sign an approval of ``hold``. Raises :class:`NoPasskey`."""
        return await self._options("approve", user, hold=hold.id, digest=hold.digest)

    async def confirmation_options(self, user: str, hold: Hold) -> dict[str, Any]:
        """What a browser needs to sign that ``user`` asks for ``hold``. Raises :class:`NoPasskey`."""
        return await self._options("confirm", user, hold=hold.id, digest=hold.digest)

    async def change_options(self, user: str) -> dict[str, Any]:
        """What a browser needs to sign a change of ``user``'s proofs. Raises :class:`NoPasskey`."""
        return await self._options("change", user)

    async def prove_approval(self, user: str, hold: Hold, credential: Mapping[str, Any]) -> dict[str, str]:
        """The proof that ``user`` signed the approval of ``hold``, for keeping. Raises :class:`StepUpFailed`."""
        proof, record = await self._proof(user, credential)
        try:
            signed = check_approval(proof, hold_id=hold.id, digest=hold.digest, who=user)
        except ProofInvalid as error:
            raise StepUpFailed(f"the passkey's signature is not accepted: {error}") from None
        await self._use(record, signed, "approve")
        return proof

    async def prove_confirmation(
        self, user: str, hold: Hold, credential: Mapping[str, Any]
    ) -> dict[str, str]:
        """The proof that ``user`` signed that they ask for ``hold``, for keeping. Raises :class:`StepUpFailed`."""
        proof, record = await self._proof(user, credential)
        try:
            signed = check_confirmation(proof, hold_id=hold.id, digest=hold.digest, who=user)
        except ProofInvalid as error:
            raise StepUpFailed(f"the passkey's signature is not accepted: {error}") from None
        await self._use(record, signed, "confirm")
        return proof

    async def prove_change(self, user: str, credential: Mapping[str, Any]) -> None:
        """That ``user`` signed a change of their own proofs. Raises :class:`StepUpFailed`."""
        proof, record = await self._proof(user, credential)
        try:
            signed = read_proof(proof)
        except ProofInvalid as error:
            raise StepUpFailed(f"the passkey's signature is not accepted: {error}") from None
        await self._use(record, signed, "change")

    # Inside

    def _here(self) -> tuple[str, str]:
        """For which host passkeys are made, and from which origin they are used."""
        url = self._config().admin.public_url
        host = passkey_host(url)
        if url is None or host is None:
            raise NoPasskeysHere(
                "admin.public_url has to be https with the name of a host (or http://localhost) for passkeys"
            )
        parts = urlsplit(url)
        return host, f"{parts.scheme}://{parts.netloc}"

    async def _challenge(self, purpose: str, user: str, **about: str) -> bytes:
        challenge = challenge_for(purpose, user, **about)
        now = self._clock.now()
        await self._store.add_challenge(digest_of(challenge), user, now + CHALLENGE_LIFETIME)
        return challenge

    async def _used_up(self, challenge: bytes, user: str, purpose: str) -> None:
        if await self._store.use_challenge(digest_of(challenge), self._clock.now()) != user:
            raise StepUpFailed(f"this request to {purpose} was used before, is too old, or is another's")

    async def _options(self, purpose: str, user: str, **about: str) -> dict[str, Any]:
        rp_id, _ = self._here()
        known = await self._store.passkeys(user)
        if not known:
            raise NoPasskey("you have no passkey; set one up first")
        options = generate_authentication_options(
            rp_id=rp_id,
            challenge=await self._challenge(purpose, user, **about),
            allow_credentials=_descriptors(known),
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return options_to_json_dict(options)

    async def _proof(self, user: str, credential: Mapping[str, Any]) -> tuple[dict[str, str], PasskeyRecord]:
        rp_id, origin = self._here()
        passkey_id, response = credential.get("id"), credential.get("response")
        readable = isinstance(passkey_id, str) and passkey_id.isascii() and passkey_id.isprintable()
        record = await self._store.passkey(str(passkey_id)) if readable else None
        if record is None or record.user != user:
            raise NoPasskey("this is none of your passkeys")
        if not isinstance(response, Mapping):
            raise StepUpFailed("the passkey's answer cannot be read")
        proof = {
            "credential_id": record.id,
            "public_key": record.public_key,
            "rp_id": rp_id,
            "origin": origin,
        }
        for name, theirs in _MEMBERS.items():
            value = response.get(theirs)
            if not isinstance(value, str):
                raise StepUpFailed("the passkey's answer cannot be read")
            proof[name] = value
        return proof, record

    async def _use(self, record: PasskeyRecord, signed: Signed, purpose: str) -> None:
        """What was signed counts once, and the key's own counter only goes up where it counts at all."""
        if signed.said.get("holdgate") != purpose:
            raise StepUpFailed("the passkey signed something else")
        await self._used_up(signed.challenge, record.user, purpose)
        if not await self._store.use_passkey(record.id, signed.sign_count, self._clock.now()):
            raise StepUpFailed("the passkey's counter went back: there may be a copy of it")


_MEMBERS: Final = {
    "client_data": "clientDataJSON",
    "authenticator_data": "authenticatorData",
    "signature": "signature",
}
"""Members of a proof, and what a browser calls them (AuthenticatorAssertionResponseJSON)."""


def _descriptors(passkeys: Sequence[PasskeyRecord]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=base64url_to_bytes(one.id)) for one in passkeys]


def _challenge_in(credential: Mapping[str, Any]) -> bytes:
    client_data = json.loads(base64url_to_bytes(credential["response"]["clientDataJSON"]))
    return base64url_to_bytes(client_data["challenge"])
