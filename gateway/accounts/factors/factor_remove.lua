-- factor_remove: take a factor away; with the last that a login can be made with the recovery codes go too. Works when
-- Redis is at maxmemory.
-- INCLUDES factors/factor_record
-- KEYS[1]  <prefix>factors:{<user id>}     hash: factor id -> packed record
-- ARGV[1]  factor id                       26 characters
-- RETURNS  1 it was there, 0 not
-- CLOCK    none                            COST  O(factors of the user), one key
-- CALLER   gateway/accounts/factors/keeping.py: KeptFactors.remove
local removed = redis.call('HDEL', KEYS[1], ARGV[1])
local _, _, first_class = count_factors(KEYS[1], RECOVERY)
if first_class == 0 then redis.call('DEL', KEYS[1]) end
return removed
