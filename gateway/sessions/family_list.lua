-- family_list: the families of one user that are alive.
-- INCLUDES sessions/family_record
-- KEYS[1]  <prefix>families:{<user id>}    hash: family id -> packed record
-- ARGV[1]  idle lifetime                   seconds, > 0
-- RETURNS  {family id, created, rotated, end, tail, methods, ...} six items for each family; times in milliseconds
-- CLOCK    Redis TIME, milliseconds        COST  O(families of the user), one key; writes nothing
-- CALLER   gateway/sessions/families.py: RefreshFamilies.list
local now, idle = now_milliseconds(), tonumber(ARGV[1])
local fields, reply = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #fields, 2 do
  local family = unpack_family(fields[i + 1])
  local ends = family_end(family, idle)
  if family.ended == 0 and now < ends then
    for _, item in ipairs({fields[i], family.created, family.rotated, ends, family.tail, family.methods}) do
      reply[#reply + 1] = item
    end
  end
end
return reply
