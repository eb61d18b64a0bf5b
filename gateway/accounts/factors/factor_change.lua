-- factor_change: replace the sealed body of a factor, if it is the one that was read.
-- INCLUDES factors/factor_record
-- KEYS[1]  <prefix>factors:{<user id>}     hash: factor id -> packed record
-- ARGV[1]  factor id                       26 characters
-- ARGV[2]  body that was read
-- ARGV[3]  new body
-- RETURNS  1 changed, now or before | 0 there is another body, or no such factor
-- CLOCK    none                            COST  O(1), one key
-- CALLER   gateway/accounts/factors/keeping.py: KeptFactors.change
local packed = redis.call('HGET', KEYS[1], ARGV[1])
if not packed then return 0 end
local factor = unpack_factor(packed)
if factor.body == ARGV[3] then return 1 end
if factor.body ~= ARGV[2] then return 0 end
factor.body = ARGV[3]
redis.call('HSET', KEYS[1], ARGV[1], pack_factor(factor))
return 1
