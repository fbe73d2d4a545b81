"use strict";
/* Setting up and removing one's authenticator. A secret is on the screen until it is confirmed, and nowhere else. */

const security = { step: "" };

function securityShow(step, text) {
  security.step = step;
  $("security-state").textContent = text;
  $("totp-new").hidden = step !== "confirm";
  $("totp-form").hidden = !step || step === "begin";
  $("totp-begin").hidden = step !== "begin";
  $("totp-go").textContent = step === "remove" ? "Remove" : "Confirm";
  $("totp-error").hidden = true;
  $("totp-code").value = "";
  if (step !== "confirm") {
    $("totp-secret").textContent = "";
    $("totp-link").removeAttribute("href");
  }
}

async function securityLook() {
  const { enrolled } = await call("GET", "/api/v1/me/totp");
  if (enrolled) securityShow("remove", "You have an authenticator. To remove it, type in one of its codes.");
  else securityShow("begin", "You have no authenticator. Rules may ask approvers for its codes.");
}

async function securityTry(action) {
  try {
    await action();
  } catch (error) {
    $("totp-error").textContent = error.message;
    $("totp-error").hidden = false;
    $("totp-form").hidden = false;
    $("totp-code").value = "";
  }
}

$("security-open").addEventListener("click", () => securityTry(async () => {
  await securityLook();
  $("security").hidden = false;
  $("security-title").scrollIntoView({ block: "start" });
}));

$("security-close").addEventListener("click", () => {
  securityShow("", "");
  $("security").hidden = true;
  $("main").focus();
});

$("totp-begin").addEventListener("click", () => securityTry(async () => {
  const made = await call("POST", "/api/v1/me/totp");
  securityShow("confirm", "");
  $("totp-secret").textContent = made.secret.replace(/(.{4})(?=.)/g, "$1 ");
  $("totp-link").href = made.uri;
  $("totp-code").focus();
}));

$("totp-form").addEventListener("submit", (event) => {
  event.preventDefault();
  securityTry(async () => {
    const step = security.step;
    await call("POST", `/api/v1/me/totp/${step}`, { code: $("totp-code").value });
    await securityLook();
    if (step === "confirm") $("security-state").textContent = "Your authenticator is set up.";
  });
});
