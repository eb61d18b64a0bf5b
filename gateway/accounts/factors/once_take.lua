-- once_take: take what is good once; of several who do, one has it.
-- KEYS[1]  <prefix>once:<sha-256>          string: kind and body
-- ARGV[1]  nonce of this request           integer, 1 to 2^32 - 1; a command that is sent again keeps it
-- ARGV[2]  how long a request knows its own taking again   milliseconds, > 0
-- RETURNS  what was there | nil nothing, or another request has it
-- CLOCK    none                            COST  O(1), one key with a TTL
-- CALLER   gateway/accounts/factors/once.py: Once.take
local kept = redis.call('GET', KEYS[1])
if not kept then return nil end
local nonce, taken = string.match(kept, '^taken (%d+) (.*)$')
if nonce then return nonce == ARGV[1] and taken or nil end
redis.call('SET', KEYS[1], 'taken ' .. ARGV[1] .. ' ' .. kept, 'PX', ARGV[2])
return kept
