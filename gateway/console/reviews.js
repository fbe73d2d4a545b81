"use strict";
/* What ran without an approval, until somebody else has looked at it. Here too cards are kept while they are typed in. */

function drawReviews(holds) {
  dropCards(state.reviews, holds);
  for (const hold of holds) {
    const known = state.reviews.get(hold.id);
    const card = known || reviewOf(hold);
    show(card.querySelector(".result"), outcome(hold));
    if (known) continue;
    state.reviews.set(hold.id, card);
    $("reviews").append(card);
  }
  $("reviews-count").textContent = holds.length || "";
  $("reviews-section").hidden = holds.length === 0;
}

function reviewOf(hold) {
  const card = $("review-template").content.firstElementChild.cloneNode(true);
  const part = (name) => card.querySelector(`.${name}`);
  card.dataset.id = hold.id;
  part("title").id = `review-${hold.id}`;
  card.setAttribute("aria-labelledby", part("title").id);
  let hidden = show(part("title"), `${verbs(hold)} by ${hold.user} on ${hold.database}`);
  part("when").textContent = new Date(hold.opened_at).toLocaleString();
  hidden += show(part("rule"), hold.rule);
  hidden += show(part("origin"), [hold.client_addr || "this machine", hold.application_name].filter(Boolean).join(", "));
  hidden += show(part("broke"), hold.intent.break_glass || "");
  hidden += show(part("effects"), effects(hold));
  hidden += show(part("sql"), statement(hold, Infinity));
  hidden += past(card, hold);
  card.dataset.hidden = hidden;
  hiddenNote(card);
  const cannot = whyNot(hold);
  part("close").hidden = Boolean(cannot);
  part("cannot").hidden = !cannot;
  show(part("cannot"), cannot);
  const note = part("note");
  note.id = `note-${hold.id}`;
  part("note-label").htmlFor = note.id;
  const error = (text) => {
    part("error").textContent = text;
    part("error").hidden = !text;
    if (text) note.focus();
  };
  part("close").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!note.value.trim()) {
      error("Say what you found.");
      return;
    }
    error("");
    part("done").disabled = true;
    try {
      await call("POST", `/api/v1/holds/${hold.id}/review`, { note: note.value });
      result(hold, `Reviewed: ${verbs(hold)} by ${hold.user}.`, "good");
    } catch (failure) {
      if (failure.status === 409) result(hold, `Too late. ${failure.message}`, "");
      else if (state.me) error(failure.message);
    } finally {
      part("done").disabled = false;
    }
  });
  return card;
}
