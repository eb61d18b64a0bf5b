// An oidc-provider with one confidential client, RS256 access tokens for one API, and its records in Redis.
// POST /session stands in for a login: it gives a new user's refresh token, as an authorization code would.

import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import Redis from "ioredis";
import Provider from "oidc-provider";
import { redisAdapter } from "./redis_adapter.mjs";

const API = "urn:example:api";
const CLIENT_ID = "bench";
const port = Number(process.env.PORT);
const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });

const provider = new Provider(`http://127.0.0.1:${port}`, {
  adapter: redisAdapter(new Redis(process.env.REDIS_URL)),
  clients: [
    {
      client_id: CLIENT_ID,
      client_secret: "a secret for this run alone",
      grant_types: ["authorization_code", "client_credentials", "refresh_token"],
      redirect_uris: ["https://app.example.com/callback"],
    },
  ],
  cookies: { keys: [randomUUID()] },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        audience: API,
        scope: "api",
        accessTokenTTL: 600,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: "RS256" } },
      }),
    },
  },
  findAccount: (ctx, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
  jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), alg: "RS256", use: "sig" }] },
  rotateRefreshToken: true,
  scopes: ["api", "offline_access"],
  ttl: { ClientCredentials: 3600, Grant: 86400, RefreshToken: 86400 },
});

async function openSession() {
  const client = await provider.Client.find(CLIENT_ID);
  const accountId = randomUUID();
  const grant = new provider.Grant({ accountId, clientId: CLIENT_ID });
  grant.addOIDCScope("offline_access");
  grant.addResourceScope(API, "api");
  const token = new provider.RefreshToken({
    accountId,
    client,
    grantId: await grant.save(),
    gty: "authorization_code",
    resource: API,
    scope: "offline_access api",
  });
  return { refresh_token: await token.save() };
}

const handle = provider.callback();
createServer(async (request, response) => {
  if (request.url === "/session") response.end(JSON.stringify(await openSession()));
  else handle(request, response);
}).listen(port, "127.0.0.1");
