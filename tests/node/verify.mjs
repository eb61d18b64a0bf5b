// Verifies access tokens as a Node service would: with jose and with jwks-rsa, each with a cache of its own.
// Arguments: address of the JWKS, issuer, audience, cool-down in milliseconds.
// Input: one token a line. Output: one JSON object a line, {"jose": true | "error", "jwks-rsa": true | "error"}.
import { createPublicKey, verify } from "node:crypto";
import { createInterface } from "node:readline";
import { createRemoteJWKSet, jwtVerify } from "jose";
import jwksRsa from "jwks-rsa";

const [, , jwksUri, issuer, audience, cooldown] = process.argv;
const remote = createRemoteJWKSet(new URL(jwksUri), { cooldownDuration: Number(cooldown) });
const client = jwksRsa({ jwksUri });

async function withJose(token) {
  await jwtVerify(token, remote, { issuer, audience, typ: "at+jwt", algorithms: ["RS256"] });
}

async function withJwksRsa(token) {
  const [header, payload, signature] = token.split(".");
  const { kid } = JSON.parse(Buffer.from(header, "base64url"));
  const key = createPublicKey((await client.getSigningKey(kid)).getPublicKey());
  const good = verify("sha256", Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, "base64url"));
  if (!good) throw new Error("bad signature");
}

for await (const token of createInterface({ input: process.stdin })) {
  const result = {};
  for (const [name, check] of [["jose", withJose], ["jwks-rsa", withJwksRsa]]) {
    result[name] = await check(token).then(() => true, (error) => `${error.code ?? ""} ${error.message}`);
  }
  console.log(JSON.stringify(result));
}
