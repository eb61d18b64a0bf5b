// A machine client with oauth4webapi: see tests/interop/test_machine_clients.py for what goes in and what is printed.
import { readFileSync } from "node:fs";
import * as oauth from "oauth4webapi";

const { ISSUER, AUDIENCE, PROTECTED, CLIENT_ID, CLIENT_SECRET, KEY_CLIENT_ID, KEY_EC, KEY_ED25519 } = process.env;
const plain = { [oauth.allowInsecureRequests]: true };

async function privateKey(file, algorithm) {
  const der = Buffer.from(readFileSync(file, "utf8").replace(/-----[^-]+-----|\s/g, ""), "base64");
  return crypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]);
}

const issuer = new URL(ISSUER);
for (const algorithm of ["oidc", "oauth2"]) {
  const answer = await oauth.discoveryRequest(issuer, { ...plain, algorithm });
  var server = await oauth.processDiscoveryResponse(issuer, answer);
}

async function go(method, clientId, authentication) {
  const client = { client_id: clientId };
  const tokens = await oauth.processClientCredentialsResponse(
    server,
    client,
    await oauth.clientCredentialsGrantRequest(server, client, authentication, { audience: AUDIENCE }, plain),
  );
  const use = () => new Request(PROTECTED, { headers: { Authorization: `Bearer ${tokens.access_token}` } });
  const verified = await oauth.validateJwtAccessToken(server, use(), AUDIENCE, plain);
  const used = (await fetch(use())).status;
  const introspect = async () =>
    oauth.processIntrospectionResponse(
      server,
      client,
      await oauth.introspectionRequest(server, client, authentication, tokens.access_token, plain),
    );
  const introspected = await introspect();
  await oauth.processRevocationResponse(
    await oauth.revocationRequest(server, client, authentication, tokens.access_token, plain),
  );
  const introspectedAfter = await introspect();
  const usedAfter = (await fetch(use())).status;
  console.log(JSON.stringify({ method, tokens, verified, used, introspected, introspectedAfter, usedAfter }));
}

await go("client_secret_basic", CLIENT_ID, oauth.ClientSecretBasic(CLIENT_SECRET));
await go("client_secret_post", CLIENT_ID, oauth.ClientSecretPost(CLIENT_SECRET));
const ec = await privateKey(KEY_EC, { name: "ECDSA", namedCurve: "P-256" });
await go("private_key_jwt ES256", KEY_CLIENT_ID, oauth.PrivateKeyJwt(ec));
const ed25519 = await privateKey(KEY_ED25519, { name: "Ed25519" });
await go("private_key_jwt Ed25519", KEY_CLIENT_ID, oauth.PrivateKeyJwt(ed25519));

const client = { client_id: CLIENT_ID };
const refused = await oauth.clientCredentialsGrantRequest(
  server,
  client,
  oauth.ClientSecretPost("wrong"),
  {},
  plain,
);
await oauth
  .processClientCredentialsResponse(server, client, refused)
  .catch((error) => console.log(JSON.stringify({ method: "wrong secret", error: error.error, status: error.status })));
