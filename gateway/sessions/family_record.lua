-- family_record: how one refresh-token family is packed; included by every script that touches families.
-- A record is at most 64 bytes, so that Redis keeps the hash in its compact encoding:
--   ended       1 byte   1 = a mark: its revocation may not have been announced yet; else the methods of the login, in
--                        bits 1 to 5 (gateway/sessions/login_methods.py), bit 0 clear
--   created     6 bytes  Redis time of the login, milliseconds
--   rotated     6 bytes  Redis time of the last rotation, or of the mark, milliseconds
--   lifetime    4 bytes  absolute lifetime counted from created, seconds
--   generation  4 bytes  of the refresh token that is good now
--   nonce       4 bytes  of the request that made this generation, or this mark; 0 for none
--   tail        1 byte length of the address (0, 4 or 16), the address, the device label

-- A mark has no methods: gateways of before there were any take the byte for ended when it is 1, and for nothing else.

-- A mark stays for as long as an access token of its family can be good: an hour at most, and a minute.
local mark_milliseconds = 3660000

local function now_milliseconds()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function unpack_family(packed)
  local family, first = {}, nil
  first, family.created, family.rotated, family.lifetime, family.generation, family.nonce =
    struct.unpack('>BI6I6I4I4I4', packed)
  family.ended, family.methods = first % 2, first - first % 2
  family.tail = string.sub(packed, 26)
  return family
end

local function pack_family(family)
  return struct.pack('>BI6I6I4I4I4', family.ended == 1 and 1 or family.methods, family.created, family.rotated,
    family.lifetime, family.generation, family.nonce) .. family.tail
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

-- The last second of logins whose families have all been ended, those too that Redis has lost; -1 for none.
local function cut_off_at(user_key)
  return tonumber(redis.call('HGET', user_key, 'cut_off') or -1)
end

-- When a login counts as having been, in milliseconds: access tokens tell its second alone, so that one in the second of
-- a cut-off counts as one of the next second. The user remembers the last one that was put off so.
local function put_behind_cut_off(user_key, now)
  local second = cut_off_at(user_key) + 1
  if now >= second * 1000 then return now end
  redis.call('HSET', user_key, 'put_off', string.format('%.0f', second))
  return second * 1000
end

-- What every gateway has yet to be told of a user: "<user id> <second> <family that is kept, or nothing>", or "".
local function unannounced_cut_off(user_key)
  return redis.call('HGET', user_key, 'unannounced') or ''
end

-- Ends all families of a user but `keep`: marks those that are there, and cuts off all that were opened until now. Gives
-- what is to be announced: family ids, and the cut-off.
local function end_families(families_key, user_key, keep, now)
  local fields, revocations, last, kept = redis.call('HGETALL', families_key), {}, now, ''
  for i = 1, #fields, 2 do
    local id, family = fields[i], unpack_family(fields[i + 1])
    last = math.max(last, family.created)
    if id == keep and family.ended == 0 then
      kept = id
    else
      if family.ended == 0 then mark_family(families_key, id, family, now) end
      revocations[#revocations + 1] = id
    end
  end
  -- Never earlier than before, though Redis's clock may have gone back, nor than a login that was put off.
  local put_off = tonumber(redis.call('HGET', user_key, 'put_off') or -1)
  local second = string.format('%.0f', math.max(math.floor(last / 1000), cut_off_at(user_key), put_off))
  local cut_off = string.match(user_key, '{(.*)}') .. ' ' .. second .. ' ' .. kept
  if redis.call('HEXISTS', user_key, 'email') == 1 then
    redis.call('HSET', user_key, 'cut_off', second, 'unannounced', cut_off)
  end
  revocations[#revocations + 1] = cut_off
  return revocations
end

-- A family; where there is none, or it is over and taken away with that, nil and the outcome.
local function find_family(key, id, now, idle)
  local packed = redis.call('HGET', key, id)
  if not packed then return nil, 'unknown' end
  local family = unpack_family(packed)
  if now >= family_end(family, idle) then
    redis.call('HDEL', key, id)
    return nil, 'expired'
  end
  return family
end
