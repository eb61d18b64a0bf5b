// Where oidc-provider keeps what it issues: one Redis hash for each record, a set for each grant.

const MEMBERS_OF_GRANTS = ["AccessToken", "AuthorizationCode", "DeviceCode", "RefreshToken"];

export function redisAdapter(redis) {
  return class {
    constructor(model) {
      this.model = model;
    }

    key(id) {
      return `oidc:${this.model}:${id}`;
    }

    async upsert(id, payload, expiresIn) {
      const key = this.key(id);
      const all = redis.multi().hset(key, "payload", JSON.stringify(payload));
      if (expiresIn) all.expire(key, expiresIn);
      if (payload.grantId && MEMBERS_OF_GRANTS.includes(this.model)) {
        const grant = `oidc:members:${payload.grantId}`;
        all.sadd(grant, key);
        if (expiresIn) all.expire(grant, expiresIn);
      }
      for (const index of ["uid", "userCode"]) {
        if (payload[index]) all.set(`oidc:${index}:${payload[index]}`, id, "EX", expiresIn ?? 86400);
      }
      await all.exec();
    }

    async find(id) {
      const { payload, consumed } = await redis.hgetall(this.key(id));
      return payload && { ...JSON.parse(payload), ...(consumed && { consumed: Number(consumed) }) };
    }

    async #findBy(index, value) {
      const id = await redis.get(`oidc:${index}:${value}`);
      return id ? this.find(id) : undefined;
    }

    findByUid(uid) {
      return this.#findBy("uid", uid);
    }

    findByUserCode(userCode) {
      return this.#findBy("userCode", userCode);
    }

    async consume(id) {
      await redis.hset(this.key(id), "consumed", Math.floor(Date.now() / 1000));
    }

    async destroy(id) {
      await redis.del(this.key(id));
    }

    async revokeByGrantId(grantId) {
      const grant = `oidc:members:${grantId}`;
      await redis.del(grant, ...(await redis.smembers(grant)));
    }
  };
}
