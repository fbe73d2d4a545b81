"use strict";
/* Setting up and removing what one proves with who one is: an authenticator, passkeys. A secret is on the screen until it
   is confirmed, and nowhere else. */

const security = { step: "", passkeys: [] };

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
  await passkeysLook();
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
    await passkeysLook();
    if (step === "confirm") $("security-state").textContent = "Your authenticator is set up.";
  });
});

/* Passkeys: what goes to the browser and comes from it is bytes; what goes over HTTP is base64url. */

const bytesOf = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (char) => char.charCodeAt(0));
const textOf = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const named = (list) => (list || []).map((one) => ({ ...one, id: bytesOf(one.id) }));

async function asked(what) {
  if (!navigator.credentials || !window.PublicKeyCredential) throw new Error("This browser cannot use passkeys here.");
  try {
    return await what();
  } catch (error) {
    throw new Error(error.name === "NotAllowedError" ? "The passkey was not used." : `The passkey did not work: ${error.message}`);
  }
}

/** Sign what the gateway asks with one of the person's passkeys. */
async function passkeySign(options) {
  const publicKey = { ...options, challenge: bytesOf(options.challenge), allowCredentials: named(options.allowCredentials) };
  const made = await asked(() => navigator.credentials.get({ publicKey }));
  const { clientDataJSON, authenticatorData, signature } = made.response;
  return {
    id: made.id, rawId: textOf(made.rawId), type: made.type,
    response: { clientDataJSON: textOf(clientDataJSON), authenticatorData: textOf(authenticatorData), signature: textOf(signature) },
  };
}

async function passkeyMake(options) {
  const publicKey = {
    ...options, challenge: bytesOf(options.challenge), user: { ...options.user, id: bytesOf(options.user.id) },
    excludeCredentials: named(options.excludeCredentials),
  };
  const made = await asked(() => navigator.credentials.create({ publicKey }));
  const { clientDataJSON, attestationObject } = made.response;
  return {
    id: made.id, rawId: textOf(made.rawId), type: made.type,
    response: { clientDataJSON: textOf(clientDataJSON), attestationObject: textOf(attestationObject) },
  };
}

async function passkeysLook() {
  const { passkeys } = await call("GET", "/api/v1/me/passkeys");
  security.passkeys = passkeys;
  $("passkeys").textContent = "";
  for (const one of passkeys) {
    const item = document.createElement("li");
    const text = document.createElement("span");
    show(text, `${one.label}, since ${new Date(one.created_at).toLocaleDateString()} `);
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Remove";
    button.addEventListener("click", () => passkeyTry(async () => {
      await call("POST", `/api/v1/me/passkeys/${one.id}/remove`, await changeProof());
      await passkeysLook();
    }));
    item.append(text, button);
    $("passkeys").append(item);
  }
  $("passkeys-none").hidden = passkeys.length > 0;
  $("passkey-proof").hidden = security.step !== "remove";
  $("passkey-code").value = "";
}

/* Whoever has something to prove with proves with it before another proof is added, or one is taken away. */
async function changeProof() {
  if ($("passkey-code").value.trim()) return { totp: $("passkey-code").value };
  if (!security.passkeys.length) return {};
  const { options } = await call("POST", "/api/v1/me/passkeys/proof");
  return { passkey: await passkeySign(options) };
}

async function passkeyTry(action) {
  $("passkey-error").hidden = true;
  try {
    await action();
  } catch (error) {
    $("passkey-error").textContent = error.message;
    $("passkey-error").hidden = false;
  }
}

$("passkey-form").addEventListener("submit", (event) => {
  event.preventDefault();
  passkeyTry(async () => {
    const proof = await changeProof();
    const { options } = await call("POST", "/api/v1/me/passkeys/options");
    const credential = await passkeyMake(options);
    await call("POST", "/api/v1/me/passkeys", { ...proof, label: $("passkey-label").value, credential });
    $("passkey-label").value = "";
    await passkeysLook();
  });
});
