-- user_remove: delete a user with all second factors and personal tokens, and mark the families that are there as ended.
-- Works when Redis is at maxmemory.
-- INCLUDES sessions/family_record
-- KEYS[1]  <prefix>user:{<user id>}        hash
-- KEYS[2]  <prefix>families:{<user id>}    hash: family id -> packed record
-- KEYS[3]  <prefix>factors:{<user id>}     hash: factor id -> packed record
-- KEYS[4]  <prefix>tokens:{<user id>}      hash: token id -> packed record; who was seen by one is told by the cut-off
-- RETURNS  {what is to be announced...}: ids of the families that are there, and the cut-off
-- CLOCK    Redis TIME, milliseconds        COST  O(families of the user), four keys, one slot
-- CALLER   gateway/accounts/users.py: Users.remove
write_at_maxmemory(KEYS[2])
local revocations = end_families(KEYS[2], KEYS[1], '', now_milliseconds())
redis.call('DEL', KEYS[1], KEYS[3], KEYS[4])
return revocations
