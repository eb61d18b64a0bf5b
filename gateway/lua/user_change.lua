-- user_change: change fields of a user; where sessions must not outlive the change, mark them as ended with it.
-- INCLUDES family_record
-- KEYS[1]  <prefix>user:{<user id>}        hash
-- KEYS[2]  <prefix>families:{<user id>}    hash: family id -> packed record
-- ARGV[1]  expected password version, or "" for any
-- ARGV[2]  "new-password" to step the password version, or ""
-- ARGV[3]  "end-sessions" to mark the families as ended, or ""
-- ARGV[4]  family id that lives on, or ""
-- ARGV[5+] field, value, ...
-- RETURNS  {"changed", marked family ids...}
--          {"unknown"} no such user | {"conflict"} another password version
-- CLOCK    none                            COST  O(families of the user), two keys, one slot
-- CALLER   gateway/users.py: Users.change
if redis.call('EXISTS', KEYS[1]) == 0 then return {'unknown'} end
if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'password_version') ~= ARGV[1] then return {'conflict'} end
if #ARGV > 4 then redis.call('HSET', KEYS[1], unpack(ARGV, 5)) end
if ARGV[2] ~= '' then redis.call('HINCRBY', KEYS[1], 'password_version', 1) end
local reply = {'changed'}
if ARGV[3] ~= '' then
  for _, id in ipairs(mark_families(KEYS[2], ARGV[4])) do reply[#reply + 1] = id end
end
return reply
