-- family_open: open a family for a user who has just proved who he is, and make room for it.
-- INCLUDES sessions/family_record
-- KEYS[1]  <prefix>families:{<user id>}    hash: family id -> packed record
-- KEYS[2]  <prefix>user:{<user id>}        hash: is_active, password_version, cut_off, put_off, unannounced
-- KEYS[3]  <prefix>factors:{<user id>}     hash: factor id -> packed record
-- ARGV[1]  family id                       22 characters
-- ARGV[2]  password version                that the password was compared with, or that was there with the passkey
-- ARGV[3]  idle lifetime                   seconds, > 0
-- ARGV[4]  absolute lifetime               seconds, > 0
-- ARGV[5]  most families of one user       >= 1
-- ARGV[6]  tail of the record              address and device label, packed
-- ARGV[7]  nonce of this request           integer, 1 to 2^32 - 1; a command that is sent again keeps it
-- ARGV[8]  methods of the login            a byte, see family_record
-- ARGV[9]  second factor                   that was proved, by its id; or ""
-- RETURNS  {"opened", family id, now, created, end, number that gave way, what is to be announced...}; those come first
--          that gave way; times in milliseconds
--          {"refused"} the user is disabled, gone, or has another password, or not this factor, by now
--          {"ended"} the family was opened by this very command, whose answer was lost, and has been ended since
-- CLOCK    Redis TIME, milliseconds        COST  O(families of the user), three keys, one slot
-- CALLER   gateway/sessions/families.py: RefreshFamilies.open
local user = redis.call('HMGET', KEYS[2], 'is_active', 'password_version')
if user[1] ~= '1' or user[2] ~= ARGV[2] then return {'refused'} end
if ARGV[9] ~= '' and redis.call('HEXISTS', KEYS[3], ARGV[9]) == 0 then return {'refused'} end

local opened_before = redis.call('HGET', KEYS[1], ARGV[1])
if opened_before and unpack_family(opened_before).ended == 1 then return {'ended'} end

local now, idle, nonce = now_milliseconds(), tonumber(ARGV[3]), tonumber(ARGV[7])
local fields, alive, gave_way, unannounced = redis.call('HGETALL', KEYS[1]), {}, {}, {}
for i = 1, #fields, 2 do
  local id, family = fields[i], unpack_family(fields[i + 1])
  if now >= family_end(family, idle) then
    redis.call('HDEL', KEYS[1], id)
  elseif family.ended == 1 then
    local list = family.nonce == nonce and gave_way or unannounced
    list[#list + 1] = id
  elseif id ~= ARGV[1] then
    alive[#alive + 1] = {id = id, family = family}
  end
end

-- The least recently used give way.
table.sort(alive, function(a, b) return a.family.rotated < b.family.rotated end)
for i = 1, #alive - tonumber(ARGV[5]) + 1 do
  mark_family(KEYS[1], alive[i].id, alive[i].family, now, nonce)
  gave_way[#gave_way + 1] = alive[i].id
end

local created = put_behind_cut_off(KEYS[2], now)
local lifetime = math.max(0, tonumber(ARGV[4]) - math.floor((created - now) / 1000))
local family = {ended = 0, methods = tonumber(ARGV[8]), created = created, rotated = now, lifetime = lifetime,
  generation = 0, nonce = 0, tail = ARGV[6]}
redis.call('HSET', KEYS[1], ARGV[1], pack_family(family))
expire_families(KEYS[1], idle)

if unannounced_cut_off(KEYS[2]) ~= '' then unannounced[#unannounced + 1] = unannounced_cut_off(KEYS[2]) end
local reply = {'opened', ARGV[1], now, created, family_end(family, idle), #gave_way}
for _, list in ipairs({gave_way, unannounced}) do
  for i = 1, #list do reply[#reply + 1] = list[i] end
end
return reply
