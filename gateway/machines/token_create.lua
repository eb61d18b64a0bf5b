-- token_create: add a personal token of a user, and take away those that are over.
-- INCLUDES machines/token_record
-- KEYS[1]  <prefix>tokens:{<user id>}      hash: token id -> packed record
-- KEYS[2]  <prefix>user:{<user id>}        hash: is_active, roles
-- ARGV[1]  token id                        pat_ and 22 characters, new
-- ARGV[2]  lifetime                        seconds, > 0
-- ARGV[3]  how many a user may have
-- ARGV[4]  name                            at most 255 bytes
-- ARGV[5]  "own" for roles of its own, or "" for all that the owner has
-- ARGV[6]  its own roles                   comma-separated
-- RETURNS  {"created", token id, created, ends, roles of the owner}   times in milliseconds
--          {"unknown"} no such user | {"user_disabled"} | {"full"} | {"role-missing", the role}
-- CLOCK    Redis TIME, milliseconds        COST  O(tokens of the user), two keys, one slot
-- CALLER   gateway/machines/personal_tokens.py: PersonalTokens.create
local now = now_milliseconds()
local user = redis.call('HMGET', KEYS[2], 'is_active', 'roles')
if not user[1] then return {'unknown'} end
if user[1] ~= '1' then return {'user_disabled'} end
for role in string.gmatch(ARGV[6], '[^,]+') do
  if not string.find(',' .. user[2] .. ',', ',' .. role .. ',', 1, true) then return {'role-missing', role} end
end

local fields, over, living, token = redis.call('HGETALL', KEYS[1]), {}, 0, nil
for i = 1, #fields, 2 do
  local one = unpack_token(fields[i + 1])
  if now >= token_end(one) then over[#over + 1] = fields[i] elseif not one.marked then living = living + 1 end
  if fields[i] == ARGV[1] then token = one end
end
-- Our own command may have been sent again after its answer was lost on the way: then it is there.
if not token then
  if living >= tonumber(ARGV[3]) then return {'full'} end
  token = {created = now, ends = now + ARGV[2] * 1000, used = 0, name = ARGV[4], roles = ARGV[6], marked = false,
    own_roles = ARGV[5] == 'own'}
  redis.call('HSET', KEYS[1], ARGV[1], pack_token(token))
end
if #over > 0 then redis.call('HDEL', KEYS[1], unpack(over)) end
expire_tokens(KEYS[1])
return {'created', ARGV[1], token.created, token.ends, user[2]}
