// Passkeys (WebAuthn level 3). What the browser makes or shows goes into a form, which is sent as any other is; without
// this script, or in a browser without passkeys, such forms stay hidden.
const RENEWED_MILLISECONDS = 240_000; // a challenge is good for five minutes

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (byte) => byte.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
const credentials = (list) => (list ?? []).map((one) => ({ ...one, id: bytes(one.id) }));

// As PublicKeyCredential.parse...OptionsFromJSON and toJSON do, which not all browsers have, nor all that stand in for
// them: extensions of password managers.
const read = ({ user, allowCredentials, excludeCredentials, ...options }) => ({
  ...options,
  challenge: bytes(options.challenge),
  ...(user && { user: { ...user, id: bytes(user.id) } }),
  ...(allowCredentials && { allowCredentials: credentials(allowCredentials) }),
  ...(excludeCredentials && { excludeCredentials: credentials(excludeCredentials) }),
});
const written = ({ id, type, response }) => {
  const said = { clientDataJSON: text(response.clientDataJSON) };
  if (response.attestationObject) {
    said.attestationObject = text(response.attestationObject);
    said.transports = response.getTransports?.() ?? [];
  } else {
    said.authenticatorData = text(response.authenticatorData);
    said.signature = text(response.signature);
    if (response.userHandle) said.userHandle = text(response.userHandle);
  }
  return JSON.stringify({ id, rawId: id, type, response: said });
};

async function optionsOf(form, signal) {
  if (form.dataset.options) return JSON.parse(form.dataset.options);
  const answer = await fetch(form.dataset.from, { method: "POST", headers: { Accept: "application/json" }, signal });
  if (!answer.ok) throw new Error(`${answer.status}`);
  const { pending, publicKey } = await answer.json();
  form.elements.pending.value = pending;
  return publicKey;
}

async function send(form, signal, mediation) {
  const publicKey = read(await optionsOf(form, signal));
  const { kind } = form.dataset;
  const credential = await navigator.credentials[kind](kind === "get" ? { publicKey, signal, mediation } : { publicKey, signal });
  form.elements[kind === "get" ? "passkey" : "credential"].value = written(credential);
  const kept = document.querySelector("input[type=checkbox][name=remember]");
  if (kept && form.elements.remember) form.elements.remember.value = kept.checked ? kept.value : "";
  form.submit();
}

for (const form of globalThis.PublicKeyCredential ? document.querySelectorAll("form[data-kind]") : []) {
  const [alert, button] = [form.querySelector("[role=alert]"), form.querySelector("button")];
  let current = new AbortController();
  const next = () => {
    current.abort();
    return (current = new AbortController()).signal;
  };

  // From the e-mail field: the browser offers passkeys there, and this waits until somebody takes one.
  const offer = async () => {
    if (!form.hasAttribute("data-offered") || !(await PublicKeyCredential.isConditionalMediationAvailable?.())) return;
    const signal = next();
    const renewed = setTimeout(offer, RENEWED_MILLISECONDS);
    signal.addEventListener("abort", () => clearTimeout(renewed));
    send(form, signal, "conditional").catch(() => clearTimeout(renewed));
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    alert.hidden = true;
    button.disabled = true;
    try {
      await send(form, next());
    } catch (error) {
      const { cancelled, known, failed } = form.dataset;
      alert.textContent = { NotAllowedError: cancelled, AbortError: cancelled, InvalidStateError: known }[error.name] ?? failed;
      alert.hidden = false;
      offer();
    } finally {
      button.disabled = false;
    }
  });
  form.hidden = false;
  for (const needless of document.querySelectorAll(".without-passkeys")) needless.hidden = true;
  offer();
}
