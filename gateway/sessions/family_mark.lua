-- family_mark: mark families of one user as ended, some or all. Works when Redis is at maxmemory.
-- INCLUDES sessions/family_record
-- KEYS[1]  <prefix>families:{<user id>}    hash: family id -> packed record
-- KEYS[2]  <prefix>user:{<user id>}        hash: email, cut_off, put_off, unannounced
-- ARGV[1]  "all" to end all, those too that Redis has lost, or "" for those that are named
-- ARGV[2]  idle lifetime                   seconds, > 0
-- ARGV[3]  nonce of this request           integer, 1 to 2^32 - 1; a command that is sent again keeps it
-- ARGV[4+] family ids                      22 characters each
-- RETURNS  {number that lived until this request, what is to be announced...}: ids of the families that are there, marked
--          before or now, and the cut-off of the user where that has not been announced
-- CLOCK    Redis TIME, milliseconds        COST  O(families of the user), two keys, one slot
-- CALLER   gateway/sessions/families.py: RefreshFamilies.mark, RefreshFamilies.mark_all
local now, idle, nonce = now_milliseconds(), tonumber(ARGV[2]), tonumber(ARGV[3])
local ids, living, revocations = {unpack(ARGV, 4)}, 0, {}
if ARGV[1] == 'all' then
  for i, word in ipairs(redis.call('HGETALL', KEYS[1])) do
    if i % 2 == 1 then ids[#ids + 1] = word end
  end
end
write_at_maxmemory(KEYS[1])
for _, id in ipairs(ids) do
  local packed = redis.call('HGET', KEYS[1], id)
  if packed then
    local family = unpack_family(packed)
    if family.ended == 0 then family.nonce = now < family_end(family, idle) and nonce or 0 end
    if family.nonce == nonce then living = living + 1 end
    -- A mark is written again, so that its confirmation can be waited for.
    mark_family(KEYS[1], id, family, now, family.nonce)
    revocations[#revocations + 1] = id
  end
end
if ARGV[1] == 'all' then
  revocations = end_families(KEYS[1], KEYS[2], '', now)
elseif unannounced_cut_off(KEYS[2]) ~= '' then
  revocations[#revocations + 1] = unannounced_cut_off(KEYS[2])
end
table.insert(revocations, 1, living)
return revocations
