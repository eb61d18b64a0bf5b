-- family_record: how one refresh-token family is packed; included by every script that touches families.
-- A record is at most 64 bytes, so that Redis keeps the hash in its compact encoding:
--   ended       1 byte   1 = a mark: its revocation may not have been announced yet
--   created     6 bytes  Redis time of the login, milliseconds
--   rotated     6 bytes  Redis time of the last rotation, or of the mark, milliseconds
--   lifetime    4 bytes  absolute lifetime counted from created, seconds
--   generation  4 bytes  of the refresh token that is good now
--   nonce       4 bytes  of the request that made this generation, or this mark; 0 for none
--   tail        1 byte length of the address (0, 4 or 16), the address, the device label

-- A mark stays for as long as an access token of its family can be good: an hour at most, and a minute.
local mark_milliseconds = 3660000

local function now_milliseconds()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function unpack_family(packed)
  local family = {}
  family.ended, family.created, family.rotated, family.lifetime, family.generation, family.nonce =
    struct.unpack('>BI6I6I4I4I4', packed)
  family.tail = string.sub(packed, 26)
  return family
end

local function pack_family(family)
  return struct.pack('>BI6I6I4I4I4', family.ended, family.created, family.rotated, family.lifetime,
    family.generation, family.nonce) .. family.tail
end

-- The first millisecond at which the family is over, idle lifetime given in seconds.
local function family_end(family, idle_seconds)
  if family.ended == 1 then return family.rotated + mark_milliseconds end
  return math.min(family.rotated + idle_seconds * 1000, family.created + family.lifetime * 1000)
end

-- Lets the whole hash expire with its last family.
local function expire_families(key, idle_seconds)
  local packed, last = redis.call('HVALS', key), 0
  for i = 1, #packed do
    last = math.max(last, family_end(unpack_family(packed[i]), idle_seconds))
  end
  if last > 0 then redis.call('PEXPIREAT', key, string.format('%.0f', last)) end
end

-- Lets the hash live until `ends` at least.
local function extend_families(key, now, ends)
  if redis.call('PTTL', key) < ends - now then redis.call('PEXPIREAT', key, string.format('%.0f', ends)) end
end

-- At maxmemory Redis refuses the first write of a script if it may need memory, and lets the later ones pass. What has
-- to work even then begins with this write, which changes nothing.
local function write_at_maxmemory(key)
  redis.call('HDEL', key, '')
end

local function mark_family(key, id, family, now, nonce)
  family.ended, family.rotated, family.nonce = 1, now, nonce or 0
  redis.call('HSET', key, id, pack_family(family))
  extend_families(key, now, family_end(family))
end

-- Marks every family of the hash but `keep` as ended and gives their ids.
local function mark_families(key, keep, now)
  local fields, marked = redis.call('HGETALL', key), {}
  for i = 1, #fields, 2 do
    if fields[i] ~= keep then
      local family = unpack_family(fields[i + 1])
      if family.ended == 0 then mark_family(key, fields[i], family, now) end
      marked[#marked + 1] = fields[i]
    end
  end
  return marked
end
