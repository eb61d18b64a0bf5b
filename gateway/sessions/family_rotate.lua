-- family_rotate: judge one presented refresh token and advance, keep, repeat, heal or end its family.
-- INCLUDES sessions/family_record
-- KEYS[1]  <prefix>families:{<user id>}    hash: family id -> packed record
-- KEYS[2]  <prefix>user:{<user id>}        hash: email, name, roles, is_active, created_at, unannounced
-- ARGV[1]  family id                       22 characters
-- ARGV[2]  presented generation            integer >= 0
-- ARGV[3]  idle lifetime                   seconds, > 0
-- ARGV[4]  replay window                   seconds, 0 to 300
-- ARGV[5]  nonce of this request           integer, 1 to 2^32 - 1; a command that is sent again keeps it
-- ARGV[6]  how long a token is kept        seconds since the last rotation; 0 for never
-- RETURNS  {outcome, family id, generation, now, created, end, email, name, roles, cut-off to be announced or "",
--            methods of the login}
--            outcome "rotated" | "kept" | "replayed" | "healed"; times in milliseconds
--          {"reused", family id}      the family is now marked as ended
--          {"revoked", family id}     it was marked as ended before, its revocation may not have been announced
--          {"user_disabled", family id}  the user is disabled or gone; the family is marked as ended
--          {"expired", family id} | {"unknown", family id}
-- CLOCK    Redis TIME, milliseconds        COST  O(1), two keys, one slot
-- CALLER   gateway/sessions/families.py: RefreshFamilies.rotate
local now, idle = now_milliseconds(), tonumber(ARGV[3])
local family, missing = find_family(KEYS[1], ARGV[1], now, idle)
if not family then return {missing, ARGV[1]} end

local user = redis.call('HMGET', KEYS[2], 'is_active', 'email', 'name', 'roles', 'unannounced')
local presented, window, nonce = tonumber(ARGV[2]), tonumber(ARGV[4]) * 1000, tonumber(ARGV[5])
local kept = tonumber(ARGV[6]) * 1000
if family.ended == 1 then
  if family.nonce ~= nonce then return {'revoked', ARGV[1]} end
  -- Our own mark: the command was sent again after its answer was lost on the way.
  return {user[1] == '1' and 'reused' or 'user_disabled', ARGV[1]}
end

local function refuse(outcome)
  write_at_maxmemory(KEYS[1])
  mark_family(KEYS[1], ARGV[1], family, now, nonce)
  return {outcome, ARGV[1]}
end

if user[1] ~= '1' then return refuse('user_disabled') end

local distance = family.generation - presented
local outcome
-- The first generation is that of the login, which is no rotation.
if distance == 0 and family.generation > 0 and kept > 0 and now - family.rotated <= kept then
  outcome = 'kept'
elseif distance == 0 then
  outcome = 'rotated'
elseif distance == 1 and family.nonce == nonce then
  -- Our own command, sent again after its answer was lost on the way: not a second use of the token.
  outcome = 'rotated'
elseif distance == 1 and window > 0 and now - family.rotated <= window then
  outcome = 'replayed'
elseif distance > 0 then
  return refuse('reused')
else
  outcome = 'healed'
end

if outcome ~= 'kept' and family.generation <= presented then
  family.generation, family.rotated, family.nonce = presented + 1, now, nonce
  redis.call('HSET', KEYS[1], ARGV[1], pack_family(family))
  extend_families(KEYS[1], now, family_end(family, idle))
end
return {outcome, ARGV[1], family.generation, now, family.created, family_end(family, idle), user[2], user[3], user[4],
  user[5] or '', family.methods}
