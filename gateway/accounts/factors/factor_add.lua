-- factor_add: give a user one more second factor; a set of recovery codes takes the place of the one before.
-- INCLUDES factors/factor_record
-- KEYS[1]  <prefix>factors:{<user id>}     hash: factor id -> packed record
-- KEYS[2]  <prefix>user:{<user id>}        hash: email
-- ARGV[1]  factor id                       26 characters
-- ARGV[2]  packed record
-- ARGV[3]  most of its kind                >= 1
-- ARGV[4]  "first" when it may only be the first factor of the user, or ""
-- RETURNS  "added" it is there, now or before | "gone" there is no such user
--          "full" | "not-first" | "none-yet" recovery codes are for who has a factor to recover from
-- CLOCK    none                            COST  O(factors of the user), two keys, one slot
-- CALLER   gateway/accounts/factors/keeping.py: KeptFactors.add
if redis.call('HEXISTS', KEYS[2], 'email') == 0 then return 'gone' end
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then return 'added' end
local kind = unpack_factor(ARGV[2]).kind
local of_kind, ids, first_class = count_factors(KEYS[1], kind)
if ARGV[4] ~= '' and first_class > 0 then return 'not-first' end
if kind == RECOVERY then
  if first_class == 0 then return 'none-yet' end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  for _, id in ipairs(ids) do redis.call('HDEL', KEYS[1], id) end
  return 'added'
end
if of_kind >= tonumber(ARGV[3]) then return 'full' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 'added'
