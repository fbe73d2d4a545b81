"use strict";
/* Before anybody else is asked, whoever asked may have to confirm it. */

function drawConfirmation(card, hold) {
  const part = (name) => card.querySelector(`.${name}`);
  const waits = Boolean(hold.confirm && !hold.confirmation);
  const byLink = hold.confirm === "email";
  part("unconfirmed").hidden = !waits;
  part("own").hidden = !waits || !hold.yours || byLink;
  part("approve").hidden = waits;
  if (!waits) return;
  const own = byLink ? "Confirm it by the link that was sent to you by e-mail: nobody is asked before." : "Confirm that you ask for this: nobody is asked before.";
  show(part("unconfirmed"), hold.yours ? own : `${hold.user} has to confirm it before it can be approved.`);
  if (hold.yours) part("cannot").hidden = true;
}

function wireConfirmation(card, hold) {
  const part = (name) => card.querySelector(`.${name}`);
  const code = part("own-code");
  code.id = `own-${hold.id}`;
  part("own-label").htmlFor = code.id;
  part("own").addEventListener("submit", async (event) => {
    event.preventDefault();
    part("own-error").hidden = true;
    part("own-yes").disabled = true;
    try {
      const body = {};
      if (code.value.trim()) body.totp = code.value;
      else body.passkey = await passkeySign((await call("POST", `/api/v1/holds/${hold.id}/confirm/passkey`)).options);
      await call("POST", `/api/v1/holds/${hold.id}/confirm`, body);
      result(hold, `Confirmed: ${verbs(hold)} on ${hold.database}. Others are asked now.`, "good");
    } catch (failure) {
      if (failure.status === 409) result(hold, `Too late. ${failure.message}`, "");
      else if (state.me) {
        part("own-error").textContent = failure.message;
        part("own-error").hidden = false;
        code.focus();
      }
    } finally {
      code.value = "";
      part("own-yes").disabled = false;
    }
  });
}
