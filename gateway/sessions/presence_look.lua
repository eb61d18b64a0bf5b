-- presence_look: tell whether a session is alive, and of whom it is; that somebody asked is its last use.
-- INCLUDES sessions/family_record
-- KEYS[1]  <prefix>families:{<user id>}    hash: family id -> packed record
-- KEYS[2]  <prefix>user:{<user id>}        hash: is_active, email, name, roles
-- ARGV[1]  family id                       22 characters
-- ARGV[2]  idle lifetime                   seconds, > 0
-- RETURNS  {"alive", family id, now, created, end, email, name, roles, methods of the login}
--            times in milliseconds
--          {"revoked", family id}     it is marked as ended, its revocation may not have been announced
--          {"user_disabled", family id}  the user is disabled or gone; the family is marked as ended
--          {"expired", family id} | {"unknown", family id}
-- CLOCK    Redis TIME, milliseconds        COST  O(1), two keys, one slot
-- CALLER   gateway/sessions/session_looks.py: SessionLooks.look
local now, idle = now_milliseconds(), tonumber(ARGV[2])
local family, missing = find_family(KEYS[1], ARGV[1], now, idle)
if not family then return {missing, ARGV[1]} end
if family.ended == 1 then return {'revoked', ARGV[1]} end

local user = redis.call('HMGET', KEYS[2], 'is_active', 'email', 'name', 'roles')
if user[1] ~= '1' then
  write_at_maxmemory(KEYS[1])
  mark_family(KEYS[1], ARGV[1], family, now)
  return {'user_disabled', ARGV[1]}
end

-- A clock that has gone back does not make a use older. Redis that is full refuses this, and the session is alive.
if now > family.rotated then
  family.rotated = now
  redis.pcall('HSET', KEYS[1], ARGV[1], pack_family(family))
end
extend_families(KEYS[1], now, family_end(family, idle))
return {'alive', ARGV[1], now, family.created, family_end(family, idle), user[2], user[3], user[4],
  family.methods}
