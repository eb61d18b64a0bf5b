// A machine client with openid-client: see tests/interop/test_machine_clients.py for what goes in and what is printed.
import { readFileSync } from "node:fs";
import { createRemoteJWKSet, importPKCS8, jwtVerify } from "jose";
import * as client from "openid-client";

const { ISSUER, AUDIENCE, PROTECTED, CLIENT_ID, CLIENT_SECRET, KEY_CLIENT_ID, KEY_RSA } = process.env;

async function go(method, clientId, authentication) {
  const options = { execute: [client.allowInsecureRequests] };
  const config = await client.discovery(new URL(ISSUER), clientId, undefined, authentication, options);
  const tokens = await client.clientCredentialsGrant(config, { resource: AUDIENCE });
  const { jwks_uri, issuer } = config.serverMetadata();
  const keys = createRemoteJWKSet(new URL(jwks_uri));
  const rules = { issuer, audience: AUDIENCE, typ: "at+jwt" };
  const { payload: verified } = await jwtVerify(tokens.access_token, keys, rules);
  const use = async () =>
    (await fetch(PROTECTED, { headers: { Authorization: `Bearer ${tokens.access_token}` } })).status;
  const used = await use();
  const introspected = await client.tokenIntrospection(config, tokens.access_token);
  await client.tokenRevocation(config, tokens.access_token);
  const introspectedAfter = await client.tokenIntrospection(config, tokens.access_token);
  const usedAfter = await use();
  console.log(JSON.stringify({ method, tokens, verified, used, introspected, introspectedAfter, usedAfter }));
}

await go("client_secret_basic", CLIENT_ID, client.ClientSecretBasic(CLIENT_SECRET));
await go("client_secret_post", CLIENT_ID, client.ClientSecretPost(CLIENT_SECRET));
const rsa = await importPKCS8(readFileSync(KEY_RSA, "utf8"), "RS256");
await go("private_key_jwt RS256", KEY_CLIENT_ID, client.PrivateKeyJwt(rsa));
await go("client_secret_basic", CLIENT_ID, client.ClientSecretBasic("wrong")).catch((error) =>
  console.log(JSON.stringify({ method: "wrong secret", error: error.code, status: error.cause?.status })),
);
