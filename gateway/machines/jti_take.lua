-- jti_take: use up the jti of a client assertion; of several requests with one, one has it.
-- KEYS[1]  <prefix>jti:<sha-256>           string: nonce of the request that has it
-- ARGV[1]  nonce of this request           text; a command that is sent again keeps it
-- ARGV[2]  how long the assertion may be good   seconds, > 0
-- RETURNS  1 this request has it | 0 another one has
-- CLOCK    none                            COST  O(1), one key with a TTL
-- CALLER   gateway/machines/clients.py: Clients.by_assertion
local taken = redis.call('GET', KEYS[1])
if taken then return taken == ARGV[1] and 1 or 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
