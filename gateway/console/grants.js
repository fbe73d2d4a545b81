"use strict";
/* Grants that are in force: what runs without another approval, and the way to end that. */

function drawGrants(grants) {
  const active = grants.filter((grant) => grant.state === "active");
  const body = $("grants").tBodies[0];
  const titles = [...$("grants").tHead.rows[0].cells].map((title) => title.textContent);
  body.textContent = "";
  for (const grant of active) {
    const row = body.insertRow();
    const cell = (text) => {
      const made = row.insertCell();
      made.dataset.title = titles[made.cellIndex];
      show(made, text);
      return made;
    };
    cell(new Date(grant.expires_at).toLocaleString());
    cell(`${grant.user} on ${grant.database}`);
    cell(grant.approved_by.join(", "));
    cell(grant.statement);
    cell(grantUsed(grant));
    cell("").append(revokeButton(grant));
  }
  $("grants-count").textContent = active.length || "";
  $("grants-section").hidden = active.length === 0;
}

function grantUsed(grant) {
  const uses = grant.uses === null ? `${grant.used} times` : `${grant.used} of ${grant.uses} times`;
  return grant.rows === null ? uses : `${uses}, ${grant.rows_used} of ${grant.rows} rows`;
}

function revokeButton(grant) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "revoke";
  button.textContent = "Revoke";
  button.setAttribute("aria-label", `Revoke what ${grant.user} may run`);
  button.disabled = !state.me.roles.some((role) => role === "approver" || role === "admin");
  button.addEventListener("click", async () => {
    button.disabled = true;
    $("grants-error").hidden = true;
    try {
      await call("POST", `/api/v1/grants/${grant.id}/revoke`, {});
    } catch (error) {
      if (!state.me) return;
      $("grants-error").textContent = error.message;
      $("grants-error").hidden = false;
    }
    refresh();
  });
  return button;
}
