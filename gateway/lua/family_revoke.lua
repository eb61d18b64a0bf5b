-- family_revoke: delete families whose revocation has been announced. Works when Redis is at maxmemory.
-- INCLUDES family_record
-- KEYS[1]  <prefix>families:{<user id>}    hash: family id -> packed record
-- ARGV[1]  idle lifetime                   seconds, > 0
-- ARGV[2+] family ids                      22 characters each
-- RETURNS  number of families deleted
-- CLOCK    none                            COST  O(families of the user), one key
-- CALLER   gateway/refresh_families.py: RefreshFamilies.revoke
local deleted = redis.call('HDEL', KEYS[1], unpack(ARGV, 2))
if deleted > 0 then expire_families(KEYS[1], tonumber(ARGV[1])) end
return deleted
