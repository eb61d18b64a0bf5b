-- family_revoke: delete families whose revocation has been announced. Works when Redis is at maxmemory.
-- INCLUDES sessions/family_record
-- KEYS[1]  <prefix>families:{<user id>}    hash: family id -> packed record
-- KEYS[2]  <prefix>user:{<user id>}        hash: unannounced
-- ARGV[1]  idle lifetime                   seconds, > 0
-- ARGV[2+] what was announced              family ids, 22 characters each, and the cut-off of the user
-- RETURNS  number of families deleted
-- CLOCK    none                            COST  O(families of the user), two keys, one slot
-- CALLER   gateway/sessions/families.py: RefreshFamilies.revoke
local deleted = redis.call('HDEL', KEYS[1], unpack(ARGV, 2))
if deleted > 0 then expire_families(KEYS[1], tonumber(ARGV[1])) end
for i = 2, #ARGV do
  if ARGV[i] == unannounced_cut_off(KEYS[2]) then redis.call('HDEL', KEYS[2], 'unannounced') end
end
return deleted
