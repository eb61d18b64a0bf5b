-- email_claim: bind an e-mail address to a user id, once.
-- KEYS[1]  <prefix>email:<sha-256>         string: user id
-- ARGV[1]  user id that claims it
-- ARGV[2]  user id that may be replaced, because no such user exists, or ""
-- RETURNS  the user id that holds the address now
-- CLOCK    none                            COST  O(1), one key
-- CALLER   gateway/accounts/users.py: Users.add
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[2] then return holder end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
