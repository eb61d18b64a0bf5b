-- user_change: change fields of a user; where sessions must not outlive the change, mark them as ended with it. Works
-- when Redis is at maxmemory.
-- INCLUDES sessions/family_record
-- KEYS[1]  <prefix>user:{<user id>}        hash
-- KEYS[2]  <prefix>families:{<user id>}    hash: family id -> packed record
-- ARGV[1]  expected password version, or "" for any
-- ARGV[2]  "new-password" to step the password version, or ""
-- ARGV[3]  "end-sessions" to mark the families as ended, or ""
-- ARGV[4]  id of the family that lives on, if it lives; or ""
-- ARGV[5+] field, value, ...; the first is password_hash when the password is new
-- RETURNS  {"changed", what is to be announced...}: where sessions end, ids of the marked families, and the cut-off
--          {"unknown"} no such user | {"conflict"} another password version
-- CLOCK    Redis TIME, milliseconds        COST  O(families of the user), two keys, one slot
-- CALLER   gateway/accounts/users.py: Users._apply
if redis.call('HEXISTS', KEYS[1], 'email') == 0 then return {'unknown'} end
-- Every hash has a salt of its own: this one is there already when our own command was sent again after its answer was
-- lost on the way.
local again = ARGV[2] ~= '' and redis.call('HGET', KEYS[1], ARGV[5]) == ARGV[6]
if not again then
  if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'password_version') ~= ARGV[1] then return {'conflict'} end
  write_at_maxmemory(KEYS[1])
  redis.call('HSET', KEYS[1], unpack(ARGV, 5))
  if ARGV[2] ~= '' then redis.call('HINCRBY', KEYS[1], 'password_version', 1) end
end
local reply = {'changed'}
if ARGV[3] ~= '' then
  write_at_maxmemory(KEYS[2])
  for _, one in ipairs(end_families(KEYS[2], KEYS[1], ARGV[4], now_milliseconds())) do reply[#reply + 1] = one end
end
return reply
