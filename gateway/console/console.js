"use strict";
/* The page of people who decide. It draws what the management port says and keeps no state of its own beyond
   what is on the screen. Text from outside goes into the page only as text nodes, never as markup. */

const RECENT = 20;
const $ = (id) => document.getElementById(id);
const state = { me: null, events: null, lost: false, skew: 0, pending: new Map(), reviews: new Map(), refreshing: false, again: false };

/* Characters that a reader cannot see, or that change what the reader sees: C0 and C1 controls, soft hyphen,
   joiners and zero-width marks, line and paragraph separators, everything that reorders text, odd blanks. */
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\udb40[\udc00-\udfff]/g;

/** Put text into an element with every hidden character as a marked escape. Returns how many there were. */
function show(element, text) {
  element.textContent = "";
  let from = 0;
  let count = 0;
  for (const match of text.matchAll(HIDDEN)) {
    element.append(text.slice(from, match.index));
    const mark = document.createElement("span");
    mark.className = "esc";
    mark.textContent = "\\u" + match[0].codePointAt(0).toString(16).padStart(4, "0");
    mark.title = "a character that cannot be seen";
    element.append(mark);
    from = match.index + match[0].length;
    count += 1;
  }
  element.append(text.slice(from));
  return count;
}

class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || `The gateway answered ${status}.`);
    this.status = status;
    this.problem = problem;
  }
}

async function call(method, path, body) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (state.me) headers["X-CSRF-Token"] = state.me.csrf_token;
  const options = { method, headers, credentials: "same-origin" };
  if (body !== undefined) options.body = JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The gateway does not answer.");
  }
  /* The header has whole seconds: what differs by less is no difference of clocks. */
  const skew = Date.parse(response.headers.get("Date") || "") - Date.now();
  if (!Number.isNaN(skew)) state.skew = Math.abs(skew) > 2000 ? skew : 0;
  if (response.status === 204) return null;
  let answer = {};
  try {
    answer = await response.json();
  } catch {
    /* a proxy's own page: the status says enough */
  }
  if (!response.ok) {
    if (response.status === 401 && state.me) signedOut("You are signed out. Sign in to go on.");
    throw new Refused(response.status, answer);
  }
  return answer;
}

/* Signing in and out */

function signedOut(why) {
  state.me = null;
  if (state.events) state.events.close();
  state.events = null;
  state.pending.clear();
  $("pending").textContent = "";
  state.reviews.clear();
  $("grants").tBodies[0].textContent = "";
  $("reviews").textContent = "";
  $("recent").tBodies[0].textContent = "";
  $("desk").hidden = true;
  $("security").hidden = true;
  $("who").hidden = true;
  $("link").hidden = true;
  banner(why || "", "");
  $("sign-in").hidden = false;
  document.title = "Holdgate: sign in";
  ($("user").value ? $("password") : $("user")).focus();
  offerProvider();
}

/* The other way to sign in, where the gateway has one; it leads back to the hold that was asked for. */
async function offerProvider() {
  let ways;
  try {
    ways = await call("GET", "/api/v1/login");
  } catch {
    return;
  }
  if (!ways.oidc) return;
  const hold = linkedHold();
  show($("oidc-link"), `Sign in with ${ways.oidc.name}`);
  $("oidc-link").href = hold ? `${ways.oidc.url}?then=${encodeURIComponent(`/holds/${hold}`)}` : ways.oidc.url;
  $("oidc").hidden = false;
}

async function signedIn(me) {
  state.me = me;
  show($("who-name"), `${me.user} (${me.roles.join(", ")})`);
  $("sign-in").hidden = true;
  $("elsewhere").hidden = true;
  $("sign-in-error").hidden = true;
  $("password").value = "";
  $("who").hidden = false;
  $("desk").hidden = false;
  banner(me.roles.includes("approver") ? "" : "You can look, but deciding takes the role approver.", "");
  listen();
  await refresh();
  return focusLinked();
}

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.target.querySelector("button");
  button.disabled = true;
  try {
    const me = await call("POST", "/api/v1/login", { user: $("user").value, password: $("password").value });
    if (!(await signedIn(me))) $("main").focus();
  } catch (error) {
    const wait = error.status === 429;
    $("sign-in-error").textContent = wait ? "Too many attempts. Wait a while, then try again." : error.message;
    $("sign-in-error").hidden = false;
    $("password").value = "";
    $("password").focus();
  } finally {
    button.disabled = false;
  }
});

$("sign-out").addEventListener("click", async () => {
  try {
    const elsewhere = await call("POST", "/api/v1/logout");
    signedOut(elsewhere ? "You have signed out here, but not where you signed in." : "You have signed out.");
    if (elsewhere) $("elsewhere-link").href = elsewhere.provider;
    $("elsewhere").hidden = !elsewhere;
  } catch (error) {
    if (state.me) banner(`Signing out did not work: ${error.message}`, "bad");
  }
});

function banner(text, kind) {
  $("banner").className = `banner ${kind}`;
  $("banner").textContent = text;
  $("banner").hidden = !text;
}

/* Live */

function linkState(on) {
  const link = $("link");
  link.hidden = false;
  link.className = on ? "link on" : "link off";
  link.textContent = on ? "Live" : "Connection lost. What you see may be old. Trying again…";
  for (const button of document.querySelectorAll(".decide button, .close button, .own button")) button.disabled = !on;
}

function listen() {
  const events = new EventSource("/api/v1/events");
  state.events = events;
  events.addEventListener("open", () => {
    linkState(true);
    if (state.lost) refresh();
    state.lost = false;
  });
  events.addEventListener("error", () => {
    state.lost = true;
    linkState(false);
    /* Closed for good: the gateway refused, most likely because the session is over. Asking says so. */
    if (events.readyState === EventSource.CLOSED) setTimeout(retry, 2000, events);
  });
  for (const kind of ["hold.opened", "hold.decided", "hold.escalated", "hold.resolved", "hold.released", "hold.outcome", "hold.previewed", "hold.checked", "hold.conflict", "hold.reviewed", "hold.confirmed", "hold.queued", "queue.moved", "grant.revoked", "grant.used", "reset"]) {
    events.addEventListener(kind, refresh);
  }
  events.addEventListener("signed-out", () => signedOut("You were signed out: the session ended or your roles changed."));
}

async function retry(events) {
  if (state.events !== events) return;
  try {
    state.me = await call("GET", "/api/v1/me");
    listen();
  } catch {
    if (state.events === events) setTimeout(retry, 2000, events);
  }
}

async function refresh() {
  /* One at a time; what happens meanwhile asks for one more. */
  if (state.refreshing) {
    state.again = true;
    return;
  }
  state.refreshing = true;
  try {
    do {
      state.again = false;
      const [pending, latest, reviews, granted] = await Promise.all([
        call("GET", "/api/v1/holds?state=pending&limit=200"),
        call("GET", "/api/v1/holds?limit=100"),
        call("GET", "/api/v1/reviews"),
        call("GET", "/api/v1/grants"),
      ]);
      drawPending(pending.holds, pending.next !== null);
      drawReviews(reviews.holds);
      drawGrants(granted.grants);
      drawRecent(latest.holds.filter((hold) => hold.state !== "pending").slice(0, RECENT));
    } while (state.again);
  } catch (error) {
    if (state.me) banner(`The list could not be read: ${error.message}`, "bad");
  } finally {
    state.refreshing = false;
  }
}

/* Pending holds: cards are kept while their hold waits, so that nothing moves under a person who types. */

function drawPending(holds, more) {
  dropCards(state.pending, holds);
  let fresh = 0;
  for (const hold of [...holds].reverse()) {
    if (state.pending.has(hold.id)) {
      preview(state.pending.get(hold.id), hold);
      const known = state.pending.get(hold.id);
      const hidden = criteria(known, hold) + conflicts(known, hold);
      if (hidden) {
        known.dataset.hidden = Number(known.dataset.hidden) + hidden;
        hiddenNote(known);
      }
      drawStages(known, hold);
      continue;
    }
    const card = cardOf(hold);
    state.pending.set(hold.id, card);
    $("pending").append(card);
    fresh += 1;
  }
  const count = holds.length + (more ? "+" : "");
  $("pending-count").textContent = holds.length ? count : "";
  $("pending-none").hidden = holds.length > 0;
  $("announce").textContent = fresh ? `${fresh} new, ${count} waiting for a decision` : "";
  document.title = holds.length ? `(${count}) Holdgate` : "Holdgate";
  tick();
}

/** Take away the cards of holds that are not among these any more. */
function dropCards(cards, holds) {
  const left = new Set(holds.map((hold) => hold.id));
  for (const [id, card] of cards) {
    if (left.has(id)) continue;
    const focused = card.contains(document.activeElement);
    card.remove();
    cards.delete(id);
    if (focused) $("main").focus();
  }
}

function cardOf(hold) {
  const card = $("hold-template").content.firstElementChild.cloneNode(true);
  const part = (name) => card.querySelector(`.${name}`);
  card.dataset.id = hold.id;
  card.dataset.expires = hold.expires_at;
  card.dataset.since = hold.transaction_open_since || "";
  const titleId = `title-${hold.id}`;
  part("title").id = titleId;
  card.setAttribute("aria-labelledby", titleId);
  let hidden = 0;
  hidden += show(part("title"), `${verbs(hold)} by ${hold.user} on ${hold.database}`);
  hidden += show(part("asker"), hold.groups.length ? `${hold.user} (${hold.groups.join(", ")})` : hold.user);
  hidden += show(part("database"), hold.database);
  part("since").textContent = new Date(hold.opened_at).toLocaleString();
  hidden += show(part("origin"), [hold.client_addr || "this machine", hold.application_name].filter(Boolean).join(", "));
  hidden += show(part("rule"), hold.rule);
  hidden += show(part("why"), hold.reason);
  const said = [hold.intent.reason, hold.intent.ticket && `ticket ${hold.intent.ticket}`].filter(Boolean);
  part("intent-row").hidden = !said.length;
  hidden += show(part("intent"), said.join("; "));
  hidden += show(part("effects"), effects(hold));
  part("criteria-row").hidden = !hold.criteria.length;
  hidden += criteria(card, hold) + conflicts(card, hold);
  hidden += show(part("sql"), hold.sql);
  if (hold.parameters !== null && hold.parameters.length) {
    part("parameters").hidden = false;
    for (const value of hold.parameters) {
      const item = document.createElement("li");
      if (value === null) {
        item.textContent = "NULL";
        item.className = "null";
      } else {
        hidden += show(item, value);
      }
      part("values").append(item);
    }
  }
  hidden += past(card, hold);
  card.dataset.hidden = hidden;
  hiddenNote(card);
  preview(card, hold);
  if (hold.ticket) hidden += show(part("why"), `${hold.reason} (asked for by ticket: the session does not wait)`);
  part("transaction").hidden = !hold.transaction_open_since;
  wireDecision(card, hold);
  wireConfirmation(card, hold);
  drawStages(card, hold);
  return card;
}

/* What is still being asked when the card is drawn is put in its place once it is known. */

const OUTCOMES = { met: "met", unmet: "not met", denied: "denied", unchecked: "could not be checked", checking: "being checked" };

/** Shows what came of the criteria; returns the number of hidden characters in that. */
function criteria(card, hold) {
  const list = card.querySelector(".criteria");
  const drawn = JSON.stringify(hold.criteria);
  if (list.dataset.drawn === drawn) return 0;
  list.dataset.drawn = drawn;
  list.replaceChildren();
  let hidden = 0;
  for (const one of hold.criteria) {
    const item = document.createElement("li");
    hidden += show(item, `${OUTCOMES[one.outcome]}: ${one.criterion}${one.why ? ` (${one.why})` : ""}`);
    list.append(item);
  }
  return hidden;
}

const CONFLICTS = {
  export_then_delete: ["deletes what this exports", "exports what this deletes"],
  delete_then_export: ["exports what this deletes", "deletes what this exports"],
  delete_twice: ["deletes the same, and came later", "deletes the same, and came first"],
};

/** Shows the other holds that concern the same people; returns the number of hidden characters in that. */
function conflicts(card, hold) {
  const list = card.querySelector(".conflicts");
  const drawn = JSON.stringify(hold.conflicts);
  if (list.dataset.drawn === drawn) return 0;
  list.dataset.drawn = drawn;
  list.replaceChildren();
  card.querySelector(".conflicts-row").hidden = !hold.conflicts.length;
  let hidden = 0;
  for (const one of hold.conflicts) {
    const item = document.createElement("li");
    const waits = one.waits ? "; this one waits until it has ended" : "";
    hidden += show(item, `${one.hold_id} of ${one.user} (${one.ended ? "ended" : one.state}) ${CONFLICTS[one.kind][Number(one.earlier)]}: ${one.about.join("; ")}${waits}`);
    item.className = one.ended ? "quiet" : "warn";
    list.append(item);
  }
  return hidden;
}

function hiddenNote(card) {
  const hidden = Number(card.dataset.hidden);
  const note = card.querySelector(".hidden-note");
  note.hidden = hidden === 0;
  note.textContent = `Look closely: ${hidden} ${hidden === 1 ? "character" : "characters"} here would not be visible; each is shown as a marked escape.`;
}

/** The statements before this one; returns the number of hidden characters in them. */
function past(card, hold) {
  const list = card.querySelector(".recent");
  let hidden = 0;
  for (const one of hold.recent) {
    const item = document.createElement("li");
    const end = one.sqlstate ? `failed with ${one.sqlstate}` : one.tag || "";
    hidden += show(item, `${new Date(one.at).toLocaleTimeString()}  ${one.sql}  (${end})`);
    list.append(item);
  }
  card.querySelector(".before").hidden = hold.recent.length === 0;
  return hidden;
}

/* The preview comes after the card: it is added once, and nothing moves under a person who types but downwards. */

const REACHED = { CASCADE: "change with it", "SET NULL": "lose the reference", "SET DEFAULT": "get the default", RESTRICT: "stop it", "NO ACTION": "stop it" };
const rows = (count) => (count === null ? "an unknown number of rows" : `${count} ${count === 1 ? "row" : "rows"}`);

function preview(card, hold) {
  const impact = hold.impact;
  if (impact === null || card.dataset.previewed) return;
  card.dataset.previewed = impact.taken_at;
  const list = card.querySelector(".impact-lines");
  let hidden = 0;
  const line = (text, kind) => {
    const item = document.createElement("li");
    item.className = kind || "";
    hidden += show(item, text);
    list.append(item);
  };
  for (const change of impact.changes) {
    line(`${change.action} ${rows(change.rows)} of ${change.relation}`, "main-line");
    for (const one of change.reached) {
      if (one.rows === 0) continue;
      const stops = one.rule === "RESTRICT" || one.rule === "NO ACTION";
      line(`${rows(one.rows)} of ${one.relation} that refer to ${one.parent} ${REACHED[one.rule]} (${one.constraint})`, stops ? "further warn" : "further");
    }
    for (const trigger of change.triggers) line(`trigger on ${trigger}`, "further");
    for (const text of change.unseen) line(`not seen: ${text}`, "further quiet");
  }
  for (const read of impact.reads) line(read.unseen || `the planner expects ${Math.round(read.rows)} rows at a cost of ${Math.round(read.cost)}`, "main-line");
  if (impact.transaction) {
    const waiting = impact.transaction.waiting;
    line(`${waiting === null ? "an unknown number of" : waiting} ${waiting === 1 ? "session waits" : "sessions wait"} for its open transaction`, waiting ? "warn" : "");
    for (const lock of impact.transaction.locks) line(`it holds ${lock.mode} on ${lock.relation}`, "further");
  }
  for (const text of impact.unseen) line(`not seen: ${text}`, "quiet");
  const most = card.querySelector(".most");
  if (hold.proposed_rows !== null && !most.dataset.touched) most.value = hold.proposed_rows;
  card.querySelector(".impact").hidden = list.children.length === 0;
  show(card.querySelector(".impact-at"), `looked up at ${new Date(impact.taken_at).toLocaleTimeString()}`);
  if (impact.formatted !== hold.sql) {
    hidden += show(card.querySelector(".formatted"), impact.formatted);
    card.querySelector(".laid-out").hidden = false;
  }
  card.dataset.hidden = Number(card.dataset.hidden) + hidden;
  hiddenNote(card);
}

/* Who is asked, who has approved, and who comes next. This changes while a hold waits, unlike the rest of its card. */

function drawStages(card, hold) {
  const waiting = hold.stages.find((stage) => stage.missing && stage.since);
  card.dataset.stepUp = waiting ? waiting.step_up.join(" ") : "";
  const list = card.querySelector(".stages");
  list.textContent = "";
  for (const stage of hold.stages) {
    const item = document.createElement("li");
    item.className = stage.missing ? (stage.since ? "now" : "later") : "done";
    show(item, stageText(stage));
    list.append(item);
  }
  const cannot = whyNot(hold);
  const part = (name) => card.querySelector(`.${name}`);
  part("field").hidden = Boolean(cannot);
  part("cannot").hidden = !cannot;
  show(part("cannot"), cannot);
  if (cannot) part("buttons").hidden = part("confirm").hidden = true;
  else if (part("confirm").hidden) part("buttons").hidden = false;
  /* How many rows, only where there is something to approve. */
  const approvable = !cannot && !(hold.confirm && !hold.confirmation);
  const changes = hold.actions.some((action) => action === "delete" || action === "update");
  part("ceiling").hidden = !approvable || hold.uncounted !== null;
  part("no-ceiling").hidden = !approvable || hold.uncounted === null || !changes;
  drawConfirmation(card, hold);
}

const escalated = (stage) => stage.escalation && stage.escalation.at && Date.parse(stage.escalation.at) <= Date.now() + state.skew;
const askedNow = (stage) => (stage.groups.length && escalated(stage) ? [...stage.groups, ...stage.escalation.to] : stage.groups);

function stageText(stage) {
  const groups = askedNow(stage);
  const who = groups.length ? groups.join(" or ") : "any approver";
  const by = stage.approved_by.length ? `; approved by ${stage.approved_by.join(", ")}` : "";
  const proof = stage.step_up.length ? `; each proves who they are (${stage.step_up.join(" or ")})` : "";
  const need = stage.missing ? `; ${stage.missing} still needed` : "";
  const later = stage.missing && stage.escalation && !escalated(stage)
    ? `; ${stage.escalation.to.join(" or ")} too${stage.escalation.at ? ` from ${new Date(stage.escalation.at).toLocaleTimeString()}` : " later"}`
    : "";
  return `${stage.quorum > 1 ? `${stage.quorum} of ` : ""}${who}${by}${need}${later}${proof}`;
}

const verbs = (hold) => hold.actions.map((action) => action.toUpperCase()).join(", ") || "STATEMENT";

function effects(hold) {
  const bound = { UNBOUNDED: "any number of rows", POINT: "one subject" }[hold.row_bound] || hold.row_bound;
  const on = hold.relations.length ? ` on ${hold.relations.join(", ")}` : "";
  const columns = hold.columns.length ? `; columns ${hold.columns.join(", ")}` : "";
  const under = hold.obligations.length ? `; runs under ${hold.obligations.join(", ")}` : "";
  return `${verbs(hold).toLowerCase()}${on}${bound ? `; ${bound}` : ""}${columns}${under}`;
}

/** Why whoever is signed in has no say in a hold, as the gateway would tell them; empty where they have one. */
function whyNot(hold) {
  const why = hold.cannot_decide;
  return why ? `${why[0].toUpperCase()}${why.slice(1)}.` : "";
}

function approving(hold) {
  if (hold.ticket) return "Nobody waits for it: it goes through once when it is run again in time.";
  const people = hold.stages.reduce((sum, stage) => sum + stage.quorum, 0);
  return people === 1 ? "It runs at once, exactly as shown." : "It runs, exactly as shown, once everybody needed has approved.";
}

function wireDecision(card, hold) {
  const part = (name) => card.querySelector(`.${name}`);
  const reason = part("reason");
  reason.id = `reason-${hold.id}`;
  part("reason-label").htmlFor = reason.id;
  const most = part("most");
  most.id = `most-${hold.id}`;
  part("most-label").htmlFor = most.id;
  most.addEventListener("input", () => { most.dataset.touched = "yes"; });
  if (hold.uncounted !== null) show(part("no-ceiling"), `It cannot be approved for a number of rows: ${hold.uncounted}.`);
  const error = (text) => {
    part("error").textContent = text;
    part("error").hidden = !text;
  };
  let verdict = "";
  const ask = (word) => {
    error("");
    if (word === "reject" && !reason.value.trim()) {
      error("Say why: the requester reads the reason.");
      reason.focus();
      return;
    }
    if (word === "approve" && !/^[0-9]*$/.test(most.value.trim())) {
      error("Rows are a whole number.");
      most.focus();
      return;
    }
    verdict = word;
    const what = word === "approve" ? approving(hold) : "It will not run.";
    show(part("question"), `${word === "approve" ? "Approve" : "Reject"} this ${verbs(hold)} by ${hold.user}? ${what}`);
    part("yes").textContent = word === "approve" ? "Yes, approve" : "Yes, reject";
    part("buttons").hidden = true;
    part("confirm").hidden = false;
    part("step-up").hidden = word !== "approve" || !card.dataset.stepUp.includes("totp");
    part("totp").value = "";
    (part("step-up").hidden ? part("yes") : part("totp")).focus();
  };
  const back = () => {
    part("confirm").hidden = true;
    part("buttons").hidden = false;
    part(verdict).focus();
  };
  part("approve").addEventListener("click", () => ask("approve"));
  part("reject").addEventListener("click", () => ask("reject"));
  part("no").addEventListener("click", back);
  part("totp").id = `totp-${hold.id}`;
  part("totp-label").htmlFor = part("totp").id;
  part("decide").addEventListener("submit", (event) => event.preventDefault());
  part("totp").addEventListener("keydown", (event) => {
    if (event.key === "Enter") part("yes").click();
  });
  card.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !part("confirm").hidden) back();
  });
  part("yes").addEventListener("click", async () => {
    part("yes").disabled = part("no").disabled = true;
    try {
      const body = { reason: reason.value };
      /* What nobody wrote or saw is left to the gateway. */
      const rowsSaid = verdict === "approve" && !part("ceiling").hidden && (most.dataset.touched || most.value);
      if (rowsSaid) body.max_rows = most.value.trim() === "" ? null : Number(most.value);
      if (verdict === "approve" && part("totp").value.trim()) body.totp = part("totp").value;
      else if (verdict === "approve" && card.dataset.stepUp.includes("passkey")) {
        const { options } = await call("POST", `/api/v1/holds/${hold.id}/passkey`);
        body.passkey = await passkeySign(options);
      }
      const done = await call("POST", `/api/v1/holds/${hold.id}/${verdict}`, body);
      const said = { approved: "Approved", rejected: "Rejected", pending: "Your approval counts, more are needed" }[done.state] || done.state;
      reason.value = "";
      part("confirm").hidden = true;
      part("buttons").hidden = false;
      result(done, `${said}: ${verbs(hold)} by ${hold.user}.`, "good");
    } catch (failure) {
      if (failure.status === 409 && !failure.problem.type.endsWith(":already-decided")) {
        result(failure.problem.hold || hold, `Too late. ${failure.message}`, "");
      } else if (state.me) {
        error(failure.message);
        part("confirm").hidden = true;
        part("buttons").hidden = false;
        reason.focus();
      }
    } finally {
      part("yes").disabled = part("no").disabled = false;
    }
  });
}

function result(hold, text, kind) {
  banner("", "");
  $("banner").className = `banner ${kind}`;
  show($("banner"), text);
  $("banner").hidden = false;
  $("main").focus();
  window.scrollTo({ top: 0 });
  refresh();
}

/* The countdowns */

function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(whole / 60);
  const pad = (number) => String(number).padStart(2, "0");
  return minutes >= 60 ? `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min` : `${minutes}:${pad(whole % 60)}`;
}

function tick() {
  const now = Date.now() + state.skew;
  for (const card of state.pending.values()) {
    const left = (Date.parse(card.dataset.expires) - now) / 1000;
    const shown = card.querySelector(".countdown");
    shown.textContent = left > 0 ? `expires in ${duration(left)}` : "expiring";
    shown.classList.toggle("soon", left < 60);
    if (card.dataset.since) {
      const open = (now - Date.parse(card.dataset.since)) / 1000;
      card.querySelector(".transaction-text").textContent = `open for ${duration(open)}: its locks are kept while this waits`;
    }
  }
}
setInterval(tick, 1000);

/* What was decided */

function drawRecent(holds) {
  const body = $("recent").tBodies[0];
  body.textContent = "";
  const titles = [...$("recent").tHead.rows[0].cells].map((title) => title.textContent);
  for (const hold of holds) {
    const row = body.insertRow();
    const cell = (text, kind) => {
      const made = row.insertCell();
      made.className = kind || "";
      made.dataset.title = titles[made.cellIndex];
      show(made, text);
      return made;
    };
    const last = hold.decisions[hold.decisions.length - 1];
    cell(hold.resolved_at ? new Date(hold.resolved_at).toLocaleTimeString() : "", "time");
    const glass = hold.break_glass ? (hold.review ? ", broke the glass; reviewed" : ", broke the glass; to be reviewed") : "";
    const queue = hold.queue ? `, waits for room: place ${hold.queue.place} of ${hold.queue.of} (${hold.queue.cap})` : "";
    cell(hold.state + queue + glass, `state ${hold.state}${hold.break_glass && !hold.review ? " glass" : ""}`);
    cell(hold.user);
    cell(last ? last.who : "nobody");
    cell(statement(hold), "statement").title = hold.id;
    cell((last ? last.reason : hold.end_reason) || "", "reason");
    cell(outcome(hold));
  }
  $("recent").hidden = holds.length === 0;
  $("recent-none").hidden = holds.length > 0;
}

function statement(hold, most = 240) {
  const values = (hold.parameters || []).map((value, index) => `$${index + 1} = ${value === null ? "NULL" : value}`);
  const text = values.length ? `${hold.sql}\n${values.join(", ")}` : hold.sql;
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

function outcome(hold) {
  if (hold.outcome) return hold.outcome.sqlstate ? `failed (${hold.outcome.sqlstate})` : hold.outcome.tag || "done";
  if (hold.state === "approved") return hold.released_at ? "running" : "not yet run";
  return "nothing was run";
}

/* A link to one hold, as clients are given it */

function linkedHold() {
  const match = /^(?:\/holds\/|\/#)(H-[0-9A-Z]{26})$/.exec(location.pathname + location.hash);
  return match ? match[1] : "";
}

function focusLinked() {
  /* True when a hold took the focus. */
  const hold = linkedHold();
  if (!hold || !state.me) return false;
  const card = state.pending.get(hold);
  if (!card) {
    banner(`${hold} does not wait any more. It may be among those that ended, below.`, "");
    return false;
  }
  card.scrollIntoView({ block: "start" });
  card.querySelector(".sql").focus();
  return true;
}

window.addEventListener("hashchange", focusLinked);

(async () => {
  try {
    await signedIn(await call("GET", "/api/v1/me"));
  } catch (error) {
    if (error.status === 401) signedOut("");
    else if (!state.me) {
      signedOut("");
      banner(error.message, "bad");
    }
  }
})();
