-- token_look: tell whether a personal token is good, and of whom it is; that somebody asked is its last use.
-- INCLUDES machines/token_record
-- KEYS[1]  <prefix>tokens:{<user id>}      hash: token id -> packed record
-- KEYS[2]  <prefix>user:{<user id>}        hash: is_active, email, name, roles
-- ARGV[1]  token id                        pat_ and 22 characters
-- RETURNS  {"alive", token id, now, ends, email, name, roles of the owner, "own" or "", its own roles}
--            times in milliseconds
--          {"revoked", token id}        it is a mark, its revocation may not have been announced
--          {"user_disabled", token id}  its owner is disabled, or gone; it is good again when the owner is enabled
--          {"expired", token id} | {"unknown", token id}
-- CLOCK    Redis TIME, milliseconds        COST  O(1), two keys, one slot
-- CALLER   gateway/machines/personal_tokens.py: PersonalTokens.look
local now = now_milliseconds()
local token, missing = find_token(KEYS[1], ARGV[1], now)
if not token then return {missing, ARGV[1]} end
if token.marked then return {'revoked', ARGV[1]} end

local user = redis.call('HMGET', KEYS[2], 'is_active', 'email', 'name', 'roles')
if user[1] ~= '1' then return {'user_disabled', ARGV[1]} end

-- A clock that has gone back does not make a use older. Redis that is full refuses this, and the token is good.
if now > token.used then
  token.used = now
  redis.pcall('HSET', KEYS[1], ARGV[1], pack_token(token))
end
return {'alive', ARGV[1], now, token.ends, user[2], user[3], user[4], token.own_roles and 'own' or '', token.roles}
