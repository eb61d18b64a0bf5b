-- factor_use: let a factor that was shown to be right count once: a time step and all before it, one recovery code. A
-- passkey has its challenge to be used once, and its counter is kept and told.
-- INCLUDES factors/factor_record
-- KEYS[1]  <prefix>factors:{<user id>}     hash: factor id -> packed record
-- ARGV[1]  factor id                       26 characters
-- ARGV[2]  kind                            1, 2 or 3
-- ARGV[3]  number                          the time step, the signature counter, or which of the codes, 0 to 9
-- ARGV[4]  now                             seconds
-- ARGV[5]  nonce of this request           integer, 1 to 2^32 - 1; a command that is sent again keeps it
-- RETURNS  {"used", the number that was there before} | {"again"} our own command was sent twice
--          {"spent"} this step, or code, or a later step, has been used | {"gone"} no such factor
-- CLOCK    none                            COST  O(1), one key
-- CALLER   gateway/accounts/factors/keeping.py: KeptFactors.use
local packed = redis.call('HGET', KEYS[1], ARGV[1])
if not packed then return {'gone'} end
local factor = unpack_factor(packed)
local kind, number, nonce = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
if factor.kind ~= kind then return {'gone'} end
if factor.nonce == nonce then return {'again'} end

local before = factor.number
if kind == 1 then
  if number <= before then return {'spent'} end
  factor.number = number
elseif kind == 2 then
  factor.number = number
else
  local bit = 2 ^ number
  if math.floor(before / bit) % 2 == 1 then return {'spent'} end
  factor.number = before + bit
end
factor.used, factor.nonce = tonumber(ARGV[4]), nonce
redis.call('HSET', KEYS[1], ARGV[1], pack_factor(factor))
return {'used', before}
